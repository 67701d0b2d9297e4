// Wrong arguments, closed objects, and threads that wait: errors that say what is wrong, and never a crash.
#define _GNU_SOURCE
#include "support.h"

#include <poll.h>
#include <pthread.h>

static void what_cannot_be_set_is_refused(void) {
    FramelockConfig *config = framelock_config_new();
    const struct {
        const char *name, *source, *says;
    } cameras[] = {
        {"a", "srt://:5000", "unknown kind of source"}, {"a", "rtp://:0", "port"}, {"", "rtp://:5000", "camera name"},
        {"a\nb", "rtp://:5000", "camera name"},          {"*", "udp://:5000", "rtp://"},
    };
    for (size_t n = 0; n < sizeof cameras / sizeof *cameras; n++) {
        EXPECT_SAYS(FRAMELOCK_RESULT_CONFIG, cameras[n].says,
                    framelock_config_add_camera(config, cameras[n].name, cameras[n].source, &error));
    }
    EXPECT_SAYS(FRAMELOCK_RESULT_ARGUMENT, "name: is not UTF-8",
                framelock_config_add_camera(config, "\xff", "rtp://:5000", &error));
    EXPECT_SAYS(FRAMELOCK_RESULT_CONFIG, "not a policy", framelock_config_set_policy(config, "best", &error));
    EXPECT_SAYS(FRAMELOCK_RESULT_CONFIG, "not a rate", framelock_config_set_rate(config, "-1", &error));
    EXPECT_SAYS(FRAMELOCK_RESULT_CONFIG, "max-wait", framelock_config_set_max_wait_ns(config, -1, &error));
    EXPECT_SAYS(FRAMELOCK_RESULT_CONFIG, "max-wait", framelock_config_set_max_wait_ns(config, INT64_MAX, &error));
    EXPECT_SAYS(FRAMELOCK_RESULT_CONFIG, "max-cameras", framelock_config_set_max_cameras(config, 0, &error));
    EXPECT_SAYS(FRAMELOCK_RESULT_CONFIG, "no IP address", framelock_config_set_ntp(config, "nowhere", 1, 0, &error));
    EXPECT_SAYS(FRAMELOCK_RESULT_CONFIG, "stratum", framelock_config_set_ntp(config, NULL, 11123, 16, &error));
    EXPECT_SAYS(FRAMELOCK_RESULT_CONFIG, "/nowhere/rig.toml",
                framelock_config_read(config, "/nowhere/rig.toml", &error));
    OK(framelock_config_set_policy(config, "exact:5ms", &error));
    OK(framelock_config_set_rate(config, "29.97", &error));
    OK(framelock_config_set_max_wait_ns(config, 0, &error));
    OK(framelock_config_set_max_cameras(config, 1024, &error));
    framelock_config_free(config);
}

static void a_long_message_is_cut(void) {
    FramelockConfig *config = framelock_config_new();
    static char path[4096];
    memset(path, 'x', sizeof path - 1);
    FramelockError error;
    CHECK(framelock_config_read(config, path, &error) == FRAMELOCK_RESULT_CONFIG, "such a file");
    const size_t length = strnlen(error.message, sizeof error.message);
    CHECK(length == FRAMELOCK_MESSAGE_SIZE - 1 && !strcmp(error.message + length - 3, "..."), "%zu", length);
    framelock_config_free(config);
}

static void null_is_refused_or_harmless(void) {
    FramelockConfig *config = framelock_config_new();
    FramelockAggregator *aggregator = (FramelockAggregator *)config;
    FramelockSubscription *subscription = NULL;
    FramelockPacket *packet = NULL;
    FramelockStatus *status = NULL;
    FramelockCounters counters = {1, 1, 1};
    FramelockImage image;
    FramelockPlanes planes;
    const FramelockMotionVector *vectors;
    size_t count = 1;
    int fd = 5;
    const FramelockResult refused = FRAMELOCK_RESULT_ARGUMENT;
    EXPECT_SAYS(refused, "config: is NULL", framelock_config_add_camera(NULL, "a", "rtp://:5000", &error));
    EXPECT_SAYS(refused, "name: is NULL", framelock_config_add_camera(config, NULL, "rtp://:5000", &error));
    EXPECT_SAYS(refused, "source: is NULL", framelock_config_add_camera(config, "a", NULL, &error));
    EXPECT_SAYS(refused, "path: is NULL", framelock_config_read(config, NULL, &error));
    EXPECT_SAYS(refused, "policy: is NULL", framelock_config_set_policy(config, NULL, &error));
    EXPECT_SAYS(refused, "config: is NULL", framelock_aggregator_start(NULL, &aggregator, &error));
    CHECK(!aggregator, "not NULL after a failure");
    EXPECT_SAYS(refused, "aggregator: is NULL", framelock_aggregator_start(config, NULL, &error));
    CHECK(framelock_aggregator_start(NULL, NULL, NULL) == refused, "without an error");
    EXPECT(refused, framelock_aggregator_subscribe(NULL, NULL, &subscription, &error));
    EXPECT(refused, framelock_aggregator_status(NULL, &status, &error));
    EXPECT(refused, framelock_aggregator_add_camera(NULL, "a", "rtp://:5000", &error));
    EXPECT(refused, framelock_aggregator_remove_camera(NULL, "a", &error));
    EXPECT(refused, framelock_subscription_next(NULL, 0, &packet, &error));
    EXPECT(refused, framelock_subscription_fd(NULL, &fd, &error));
    CHECK(fd == -1, "%d", fd);
    EXPECT(refused, framelock_subscription_counters(NULL, &counters, &error));
    CHECK(counters.offered == 0, "not 0 after a failure");
    EXPECT(refused, framelock_frame_image(NULL, &image, &error));
    EXPECT(refused, framelock_frame_planes(NULL, &planes, &error));
    EXPECT(refused, framelock_frame_motion_vectors(NULL, &vectors, &count, &error));
    CHECK(!vectors && !count && !image.data && !planes.data[0], "not 0 after a failure");
    EXPECT(refused, framelock_frame_convert(NULL, FRAMELOCK_PIXELS_BGR, (uint8_t *)&count, 8, 8, &error));
    CHECK(!framelock_packet_info(NULL) && !framelock_packet_count(NULL) && !framelock_packet_frame(NULL, 0), "of NULL");
    CHECK(!framelock_packet_find(NULL, "a") && !framelock_frame_info(NULL) && !framelock_packet_retain(NULL), "of NULL");
    CHECK(!framelock_status_count(NULL) && !framelock_status_camera(NULL, 0), "of NULL");
    CHECK(!framelock_aggregator_ntp_address(NULL), "of NULL");
    framelock_config_free(NULL);
    framelock_aggregator_close(NULL);
    framelock_aggregator_free(NULL);
    framelock_subscription_close(NULL);
    framelock_subscription_free(NULL);
    framelock_packet_release(NULL);
    framelock_status_free(NULL);
    framelock_config_free(config);
}

static void ports_and_names_are_given_once(void) {
    char source[64];
    silent_source(source);
    FramelockConfig *config = config_of("a", source, "b", source, NULL);
    FramelockAggregator *aggregator;
    EXPECT_SAYS(FRAMELOCK_RESULT_CONFIG, "port", framelock_aggregator_start(config, &aggregator, &error));
    framelock_config_free(config);
    aggregator = aggregator_of("a", source, NULL);
    FramelockAggregator *other;
    config = config_of("a", source, NULL);
    EXPECT_SAYS(FRAMELOCK_RESULT_START, strrchr(source, ':') + 1, framelock_aggregator_start(config, &other, &error));
    CHECK(!other, "not NULL after a failure");
    // Free again with the aggregator that had it.
    framelock_aggregator_close(aggregator);
    OK(framelock_aggregator_start(config, &other, &error));
    framelock_aggregator_free(other);
    framelock_aggregator_free(aggregator);
    framelock_config_free(config);
}

static void options_that_cannot_be_are_refused(void) {
    FramelockAggregator *aggregator = aggregator_of(NULL);
    FramelockSubscription *subscription;
    const struct {
        FramelockSubscribeOptions options;
        const char *says;
    } wrong[] = {
        {{.pixels = (FramelockPixels)9}, "9 is no FramelockPixels"},
        {{.queue = (FramelockQueue)3}, "3 is no FramelockQueue"},
        {{.motion_vectors = 2}, "motion_vectors"},
        {{.packets = UINT32_MAX}, "packets"},
        {{.reserved = {0, 0, 1, 0}}, "reserved"},
    };
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++) {
        EXPECT_SAYS(FRAMELOCK_RESULT_ARGUMENT, wrong[n].says,
                    framelock_aggregator_subscribe(aggregator, &wrong[n].options, &subscription, &error));
        CHECK(!subscription, "not NULL after a failure");
    }
    // Its own defaults.
    OK(framelock_aggregator_subscribe(aggregator, NULL, &subscription, &error));
    framelock_subscription_free(subscription);
    framelock_aggregator_free(aggregator);
}

static void what_is_closed_says_so(void) {
    char source[64];
    silent_source(source);
    FramelockAggregator *aggregator = aggregator_of("a", source, NULL);
    FramelockSubscription *one = subscribe(aggregator, (FramelockSubscribeOptions){0});
    FramelockSubscription *other = subscribe(aggregator, (FramelockSubscribeOptions){0});
    FramelockSubscription *none;
    FramelockPacket *packet;
    FramelockStatus *status;
    FramelockCounters counters;
    EXPECT(FRAMELOCK_RESULT_TIMEOUT, framelock_subscription_next(one, 0, &packet, &error));
    const int64_t begin = monotonic_ns();
    EXPECT(FRAMELOCK_RESULT_TIMEOUT, framelock_subscription_next(one, 30000000, &packet, &error));
    CHECK(monotonic_ns() - begin >= 30000000 && !packet, "it did not wait");
    framelock_subscription_close(one);
    framelock_subscription_close(one);
    EXPECT_SAYS(FRAMELOCK_RESULT_CLOSED, "subscription", framelock_subscription_next(one, 0, &packet, &error));
    EXPECT(FRAMELOCK_RESULT_CLOSED, framelock_subscription_counters(one, &counters, &error));
    OK(framelock_subscription_counters(other, &counters, &error));
    framelock_aggregator_close(aggregator);
    framelock_aggregator_close(aggregator);
    EXPECT_SAYS(FRAMELOCK_RESULT_CLOSED, "aggregator",
                framelock_subscription_next(other, FRAMELOCK_FOREVER, &packet, &error));
    EXPECT(FRAMELOCK_RESULT_CLOSED, framelock_aggregator_status(aggregator, &status, &error));
    EXPECT(FRAMELOCK_RESULT_CLOSED, framelock_aggregator_subscribe(aggregator, NULL, &none, &error));
    EXPECT(FRAMELOCK_RESULT_CLOSED, framelock_aggregator_add_camera(aggregator, "b", "rtp://:5000", &error));
    framelock_aggregator_free(aggregator);
    // They outlive it.
    EXPECT(FRAMELOCK_RESULT_CLOSED, framelock_subscription_next(other, 0, &packet, &error));
    framelock_subscription_free(one);
    framelock_subscription_free(other);
}

static void *wait_for_ever(void *subscription) {
    FramelockPacket *packet;
    const FramelockResult result = framelock_subscription_next(subscription, FRAMELOCK_FOREVER, &packet, NULL);
    CHECK(!packet, "from nobody");
    return (void *)(uintptr_t)result;
}

static void who_waits_is_told_of_the_end(void) {
    for (int whole = 0; whole < 2; whole++) {
        FramelockAggregator *aggregator = aggregator_of(NULL);
        FramelockSubscription *subscription = subscribe(aggregator, (FramelockSubscribeOptions){0});
        pthread_t threads[3];
        for (int n = 0; n < 3; n++) CHECK(!pthread_create(&threads[n], NULL, wait_for_ever, subscription), "no thread");
        poll(NULL, 0, 20);
        // While they wait, others are not held up.
        FramelockPacket *packet;
        FramelockCounters counters;
        EXPECT(FRAMELOCK_RESULT_TIMEOUT, framelock_subscription_next(subscription, 0, &packet, &error));
        OK(framelock_subscription_counters(subscription, &counters, &error));
        if (whole) framelock_aggregator_close(aggregator);
        else framelock_subscription_close(subscription);
        for (int n = 0; n < 3; n++) {
            void *result;
            pthread_join(threads[n], &result);
            CHECK((uintptr_t)result == FRAMELOCK_RESULT_CLOSED, "%zu", (size_t)(uintptr_t)result);
        }
        framelock_subscription_free(subscription);
        framelock_aggregator_free(aggregator);
    }
}

static void the_rest_says_what_it_is(void) {
    CHECK(framelock_abi() == FRAMELOCK_ABI, "%u", framelock_abi());
    CHECK(strspn(framelock_version(), "0123456789.") >= 5, "%s", framelock_version());
    CHECK(!strcmp(framelock_frame_status_name(FRAMELOCK_FRAME_STATUS_READ_ERROR), "read-error"), "its word");
    CHECK(!strcmp(framelock_time_source_name(FRAMELOCK_TIME_SOURCE_IN_BAND), "in-band"), "its word");
    CHECK(!strcmp(framelock_frame_type_name(FRAMELOCK_FRAME_TYPE_B), "B"), "its word");
    CHECK(!strcmp(framelock_codec_name(FRAMELOCK_CODEC_JPEG), "jpeg"), "its word");
    CHECK(!strcmp(framelock_camera_state_name(FRAMELOCK_CAMERA_STATE_LIVE), "live"), "its word");
    CHECK(!strcmp(framelock_frame_status_name((FramelockFrameStatus)99), "unknown"), "a word for what is none");
    OK(framelock_log_to_stderr(false, &error));
    EXPECT_SAYS(FRAMELOCK_RESULT_FAILED, "already", framelock_log_to_stderr(true, &error));
}

int main(void) {
    what_cannot_be_set_is_refused();
    a_long_message_is_cut();
    null_is_refused_or_harmless();
    ports_and_names_are_given_once();
    options_that_cannot_be_are_refused();
    what_is_closed_says_so();
    who_waits_is_told_of_the_end();
    the_rest_says_what_it_is();
    return 0;
}
