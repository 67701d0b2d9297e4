#define _GNU_SOURCE
#include "support.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const SenderOptions USUAL = {"test", "320x240", "600k", 30};

static int bound_socket(int *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    const int file = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(file >= 0, "no socket");
    if (bind(file, (struct sockaddr *)&address, size) || getsockname(file, (struct sockaddr *)&address, &size)) {
        close(file);
        return -1;
    }
    *port = ntohs(address.sin_port);
    return file;
}

// A UDP port that was free a moment ago, as was the next one (for RTCP).
static int free_port(void) {
    for (int tries = 0; tries < 100; tries++) {
        int port = 0;
        const int first = bound_socket(&port);
        int beside = port + 1;
        const int second = port % 2 == 0 && port < 65000 ? bound_socket(&beside) : -1;
        close(first);
        if (second >= 0) {
            close(second);
            return port;
        }
    }
    CHECK(false, "no free pair of UDP ports on loopback");
    return 0;
}

void silent_source(char source[64]) {
    snprintf(source, 64, "rtp://127.0.0.1:%d", free_port());
}

// What senders are told as --clock: a server of ours, for the kernels of test machines often call their clocks
// unsynchronized. It serves as long as the test runs.
static const char *clock_source(void) {
    static char clock[96];
    static FramelockAggregator *server;
    if (!server) {
        FramelockConfig *config = framelock_config_new();
        OK(framelock_config_set_ntp(config, "127.0.0.1", 0, 10, &error));
        OK(framelock_aggregator_start(config, &server, &error));
        framelock_config_free(config);
        const char *address = framelock_aggregator_ntp_address(server);
        CHECK(address && !strncmp(address, "127.0.0.1:", 10), "%s", address ? address : "none");
        snprintf(clock, sizeof clock, "ntp:%s", address);
    }
    return clock;
}

Sender start_sender(const char *camera, SenderOptions options) {
    const char *program = getenv("FRAMELOCK_SENDER");
    CHECK(program, "FRAMELOCK_SENDER does not say where framelock-sender is");
    Sender sender;
    silent_source(sender.source);
    const char *clock = clock_source();
    char fps[16];
    snprintf(fps, sizeof fps, "%d", options.fps);
    const pid_t parent = getpid();
    sender.process = fork();
    CHECK(sender.process >= 0, "no process");
    if (sender.process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int nowhere = open("/dev/null", O_WRONLY);
        dup2(nowhere, STDERR_FILENO);
        if (getppid() == parent) {
            execl(program, program, "run", "--source", options.source, "--to", sender.source, "--camera", camera, "--size",
                  options.size, "--fps", fps, "--bitrate", options.bitrate, "--clock", clock, (char *)NULL);
        }
        _exit(127);
    }
    return sender;
}

void kill_sender(Sender *sender) {
    int status = 0;
    kill(sender->process, SIGKILL);
    CHECK(waitpid(sender->process, &status, 0) == sender->process, "no such sender");
    CHECK(WIFSIGNALED(status), "the sender had ended before: status %d", status);
}

static uint32_t crc32(const uint8_t *bytes, size_t size) {
    uint32_t crc = 0xffffffff;
    for (size_t n = 0; n < size; n++) {
        crc ^= bytes[n];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    return ~crc;
}

static uint64_t big_endian(const uint8_t *bytes, size_t size) {
    uint64_t value = 0;
    for (size_t n = 0; n < size; n++) value = value << 8 | bytes[n];
    return value;
}

// The mean of the middle quarter of a cell.
static double level(const uint8_t *gray, size_t stride, size_t cell, size_t row, size_t column) {
    const size_t margin = cell / 4;
    double sum = 0;
    for (size_t y = margin; y < cell - margin; y++) {
        for (size_t x = margin; x < cell - margin; x++) sum += gray[(row * cell + y) * stride + column * cell + x];
    }
    return sum / (double)((cell - 2 * margin) * (cell - 2 * margin));
}

// The strip's layout is told in common/src/timecode/mod.rs; this reader is written anew from there.
Timecode timecode(const uint8_t *gray, size_t stride, size_t width) {
    enum { COLUMNS = 40, ROWS = 4, MARGIN = 2 };
    const size_t cell = width / COLUMNS;
    CHECK(width % COLUMNS == 0 && cell >= 4, "too narrow for this reader");
    const double middle = (level(gray, stride, cell, 0, 0) + level(gray, stride, cell, 0, 1)) / 2;
    uint8_t payload[18] = {0};
    size_t bit = 0;
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t column = MARGIN; column < COLUMNS - MARGIN; column++, bit++) {
            const bool white = level(gray, stride, cell, row, column) > middle;
            payload[bit / 8] = (uint8_t)(payload[bit / 8] << 1 | white);
        }
    }
    CHECK(big_endian(payload + 14, 4) == crc32(payload, 14), "no timecode strip, or a damaged one");
    return (Timecode){(uint16_t)big_endian(payload, 2), (uint32_t)big_endian(payload + 2, 4),
                      (int64_t)big_endian(payload + 6, 8)};
}

static FramelockConfig *config_of_list(const char *name, va_list list) {
    FramelockConfig *config = framelock_config_new();
    for (; name; name = va_arg(list, const char *)) {
        OK(framelock_config_add_camera(config, name, va_arg(list, const char *), &error));
    }
    return config;
}

FramelockConfig *config_of(const char *name, ...) {
    va_list list;
    va_start(list, name);
    FramelockConfig *config = config_of_list(name, list);
    va_end(list);
    return config;
}

FramelockAggregator *aggregator_of(const char *name, ...) {
    va_list list;
    va_start(list, name);
    FramelockConfig *config = config_of_list(name, list);
    va_end(list);
    FramelockAggregator *aggregator;
    OK(framelock_aggregator_start(config, &aggregator, &error));
    framelock_config_free(config);
    return aggregator;
}

FramelockSubscription *subscribe(FramelockAggregator *aggregator, FramelockSubscribeOptions options) {
    FramelockSubscription *subscription;
    OK(framelock_aggregator_subscribe(aggregator, &options, &subscription, &error));
    return subscription;
}

FramelockPacket *next_packet(FramelockSubscription *subscription) {
    FramelockPacket *packet;
    OK(framelock_subscription_next(subscription, PATIENCE_NS, &packet, &error));
    return packet;
}

static bool is_complete(const FramelockPacket *packet) {
    for (size_t n = 0; n < framelock_packet_count(packet); n++) {
        const FramelockFrameInfo *info = framelock_frame_info(framelock_packet_frame(packet, n));
        if (info->status != FRAMELOCK_FRAME_STATUS_OKAY || info->time_source == FRAMELOCK_TIME_SOURCE_ARRIVAL) return false;
    }
    return framelock_packet_count(packet) > 0;
}

FramelockPacket *next_complete(FramelockSubscription *subscription) {
    const int64_t deadline = monotonic_ns() + PATIENCE_NS;
    for (;;) {
        FramelockPacket *packet = next_packet(subscription);
        if (is_complete(packet)) return packet;
        framelock_packet_release(packet);
        CHECK(monotonic_ns() < deadline, "no complete packet came");
    }
}

int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

long resident_kib(void) {
    FILE *file = fopen("/proc/self/status", "r");
    CHECK(file, "no /proc/self/status");
    char line[256];
    long kib = -1;
    while (fgets(line, sizeof line, file)) {
        if (!strncmp(line, "VmRSS:", 6)) kib = strtol(line + 6, NULL, 10);
    }
    fclose(file);
    CHECK(kib > 0, "no VmRSS");
    return kib;
}
