// What the tests share: real senders, the truth that they draw into their pictures, and checks.
#ifndef SUPPORT_H
#define SUPPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <framelock.h>

#ifdef __cplusplus
extern "C" {
#endif

// How long a test waits for something that must happen, on a machine that is busy with other work.
#define PATIENCE_NS ((int64_t)60 * 1000 * 1000 * 1000)

// Ends the test, with what was expected, unless it holds.
#define CHECK(holds, ...)                                                                                              \
    do {                                                                                                               \
        if (!(holds)) {                                                                                                \
            fprintf(stderr, "%s:%d: not so: %s: ", __FILE__, __LINE__, #holds);                                        \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fputc('\n', stderr);                                                                                       \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

// Calls a function of ours whose last argument is `&error`, and ends the test unless it gives `expected`.
#define EXPECT(expected, call)                                                                                         \
    do {                                                                                                               \
        FramelockError error;                                                                                          \
        memset(&error, 0xa5, sizeof error);                                                                            \
        const FramelockResult result = (call);                                                                         \
        CHECK(result == (expected), "result %u: %s", (unsigned)result, error.message);                                 \
        CHECK(error.result == result && (result == FRAMELOCK_RESULT_OK) == (error.message[0] == 0), "%s",              \
              error.message);                                                                                          \
    } while (0)
#define OK(call) EXPECT(FRAMELOCK_RESULT_OK, call)

// The same, and its message must have `text` in it.
#define EXPECT_SAYS(expected, text, call)                                                                              \
    do {                                                                                                               \
        FramelockError error;                                                                                          \
        const FramelockResult said = (call);                                                                           \
        CHECK(said == (expected) && strstr(error.message, text), "result %u: %s", (unsigned)said, error.message);      \
    } while (0)

// A running framelock-sender. It dies with the test.
typedef struct {
    pid_t process;
    char source[64]; // where an aggregator finds it
} Sender;

typedef struct {
    const char *source, *size, *bitrate;
    int fps;
} SenderOptions;

// 320x240, 30 frames a second.
extern const SenderOptions USUAL;

// Starts the sender that FRAMELOCK_SENDER names, on a free port.
Sender start_sender(const char *camera, SenderOptions options);
// Ends it at once, as a power cut would.
void kill_sender(Sender *sender);
// A source on loopback to which nobody sends.
void silent_source(char source[64]);

// What the strip at the top of a test picture says.
typedef struct {
    uint16_t camera;
    uint32_t frame;
    int64_t time_ns;
} Timecode;

// Reads the strip of a gray picture whose width is a multiple of 40; ends the test if there is none.
Timecode timecode(const uint8_t *gray, size_t stride, size_t width);

// A config of cameras, name and source, NULL at the end.
FramelockConfig *config_of(const char *name, ...);
// An aggregator of cameras, name and source, NULL at the end.
FramelockAggregator *aggregator_of(const char *name, ...);
FramelockSubscription *subscribe(FramelockAggregator *aggregator, FramelockSubscribeOptions options);
FramelockPacket *next_packet(FramelockSubscription *subscription);
// The next packet in which every camera has a frame with its board's time.
FramelockPacket *next_complete(FramelockSubscription *subscription);

int64_t monotonic_ns(void);
// Resident memory of this process.
long resident_kib(void);

#ifdef __cplusplus
}
#endif

#endif
