// Packets of real senders, through the C interface: times against the truth in the pictures, statuses, images, motion
// vectors, consumers with their own pace, cameras that come and go.
#define _GNU_SOURCE
#include "support.h"

#include <poll.h>

static const FramelockSubscribeOptions BGR = {.pixels = FRAMELOCK_PIXELS_BGR, .packets = 60};

static const FramelockFrameInfo *info_of(const FramelockPacket *packet, const char *camera) {
    const FramelockFrameInfo *info = framelock_frame_info(framelock_packet_find(packet, camera));
    CHECK(info && !strcmp(info->camera, camera), "no camera %s", camera);
    return info;
}

static Timecode code_of(const FramelockFrame *frame) {
    static uint8_t gray[240 * 320];
    OK(framelock_frame_convert(frame, FRAMELOCK_PIXELS_GRAY, gray, sizeof gray, 320, &error));
    return timecode(gray, 320, 320);
}

static void times_are_the_truth_within_their_bounds(FramelockAggregator *aggregator) {
    FramelockSubscription *subscription = subscribe(aggregator, BGR);
    int outside = 0;
    int64_t ahead[2] = {0};
    for (int count = 0; count < 60; count++) {
        FramelockPacket *packet = next_complete(subscription);
        for (size_t n = 0; n < 2; n++) {
            const FramelockFrame *frame = framelock_packet_frame(packet, n);
            const FramelockFrameInfo *info = framelock_frame_info(frame);
            const Timecode truth = code_of(frame);
            CHECK(info->uncertainty_ns > 0 && info->uncertainty_ns < 500000000, "%lld", (long long)info->uncertainty_ns);
            outside += llabs(info->time_ns - truth.time_ns) > info->uncertainty_ns;
            // The sender counts frames, and so does the receiver: they differ by what came before, and what a busy machine
            // lost since. A picture of another frame would show as a step back, then or after.
            const int64_t before = (int64_t)truth.frame - (int64_t)info->sequence;
            CHECK(count == 0 || before >= ahead[n], "the picture is another frame's");
            ahead[n] = before;
        }
        framelock_packet_release(packet);
    }
    // Bounds are to hold in 99 of 100 frames.
    CHECK(outside <= 1, "%d of 120 times are further from the truth than said", outside);
    framelock_subscription_free(subscription);
}

static void a_packet_is_what_its_frames_are(FramelockAggregator *aggregator) {
    FramelockSubscription *subscription = subscribe(aggregator, (FramelockSubscribeOptions){0});
    FramelockPacketInfo before = {0};
    for (int count = 0; count < 10; count++) {
        FramelockPacket *packet = next_complete(subscription);
        const FramelockPacketInfo *info = framelock_packet_info(packet);
        const FramelockFrameInfo *left = info_of(packet, "left"), *right = info_of(packet, "right");
        CHECK(count == 0 || (info->number > before.number && info->time_ns > before.time_ns), "packets go back");
        CHECK(info->complete && framelock_packet_count(packet) == 2, "two cameras");
        CHECK(info->spread_ns == llabs(left->time_ns - right->time_ns), "%lld", (long long)info->spread_ns);
        CHECK(info->spread_bound_ns == info->spread_ns + left->uncertainty_ns + right->uncertainty_ns, "%lld",
              (long long)info->spread_bound_ns);
        const int64_t first = left->time_ns < right->time_ns ? left->time_ns : right->time_ns;
        CHECK(first <= info->time_ns && info->time_ns <= first + info->spread_ns, "%lld", (long long)info->time_ns);
        CHECK(framelock_packet_frame(packet, 0) == framelock_packet_find(packet, "left"), "left is first");
        CHECK(!framelock_packet_frame(packet, 2) && !framelock_packet_find(packet, "middle"), "there is no third");
        before = *info;
        framelock_packet_release(packet);
    }
    framelock_subscription_free(subscription);
}

static void the_compressed_frame_is_there(FramelockAggregator *aggregator) {
    FramelockSubscription *subscription = subscribe(aggregator, (FramelockSubscribeOptions){.packets = 60});
    bool seen[4] = {false};
    // More than from one key frame to the next.
    for (int count = 0; count < 90; count++) {
        FramelockPacket *packet = next_complete(subscription);
        const FramelockFrameInfo *info = info_of(packet, "right");
        CHECK(info->codec == FRAMELOCK_CODEC_H264 && info->width == 320 && info->height == 240, "what is it?");
        CHECK(info->size > 4 && info->data && info->data[0] == 0 && info->data[1] == 0, "no start code");
        CHECK(info->frame_type <= FRAMELOCK_FRAME_TYPE_B, "%u", (unsigned)info->frame_type);
        CHECK(info->key == (info->frame_type == FRAMELOCK_FRAME_TYPE_I), "a key frame that is no I frame");
        seen[info->frame_type] = true;
        FramelockImage image = {.data = info->data};
        EXPECT_SAYS(FRAMELOCK_RESULT_NOT_REQUESTED, "FramelockSubscribeOptions.pixels",
                    framelock_frame_image(framelock_packet_frame(packet, 0), &image, &error));
        CHECK(!image.data, "an image that is none");
        framelock_packet_release(packet);
    }
    CHECK(seen[FRAMELOCK_FRAME_TYPE_I] && seen[FRAMELOCK_FRAME_TYPE_P] && !seen[FRAMELOCK_FRAME_TYPE_B], "I and P");
    framelock_subscription_free(subscription);
}

static void check_layouts(const FramelockFrame *frame) {
    enum { WIDTH = 320, HEIGHT = 240, STRIDE = WIDTH * 3 + 7 };
    static uint8_t rgb[HEIGHT * STRIDE], gray[HEIGHT * WIDTH];
    FramelockImage image, again;
    FramelockPlanes planes;
    OK(framelock_frame_image(frame, &image, &error));
    OK(framelock_frame_image(frame, &again, &error));
    CHECK(image.data == again.data, "made twice");
    CHECK(image.width == WIDTH && image.height == HEIGHT && image.stride >= WIDTH * 3, "%zu", image.stride);
    CHECK(image.pixels == FRAMELOCK_PIXELS_BGR, "%u", (unsigned)image.pixels);
    memset(rgb, 0x5a, sizeof rgb);
    // The last row may end with the picture.
    OK(framelock_frame_convert(frame, FRAMELOCK_PIXELS_RGB, rgb, sizeof rgb - 7, STRIDE, &error));
    OK(framelock_frame_convert(frame, FRAMELOCK_PIXELS_GRAY, gray, sizeof gray, WIDTH, &error));
    OK(framelock_frame_planes(frame, &planes, &error));
    CHECK(planes.width == WIDTH && planes.height == HEIGHT && planes.depth == 8, "the planes' size");
    CHECK(planes.chroma == FRAMELOCK_CHROMA_YUV420 && planes.stride[1] >= WIDTH / 2 && planes.data[2], "their chroma");
    CHECK(planes.range == FRAMELOCK_RANGE_LIMITED, "their range");
    for (size_t y = 0; y < HEIGHT; y++) {
        const uint8_t *bgr = image.data + y * image.stride, *luma = planes.data[0] + y * planes.stride[0];
        for (size_t x = 0; x < WIDTH; x++) {
            const uint8_t *here = rgb + y * STRIDE + x * 3;
            CHECK(bgr[3 * x] == here[2] && bgr[3 * x + 1] == here[1] && bgr[3 * x + 2] == here[0], "BGR is not RGB");
            const double stretched = (luma[x] - 16) * 255.0 / 219;
            const double level = stretched < 0 ? 0 : stretched > 255 ? 255 : stretched;
            CHECK(level - gray[y * WIDTH + x] <= 0.51 && gray[y * WIDTH + x] - level <= 0.51, "gray is not luma");
        }
        for (size_t x = WIDTH * 3; x < STRIDE; x++) CHECK(rgb[y * STRIDE + x] == 0x5a, "written between rows");
    }
    EXPECT_SAYS(FRAMELOCK_RESULT_ARGUMENT, "230400 bytes",
                framelock_frame_convert(frame, FRAMELOCK_PIXELS_BGR, rgb, 230399, WIDTH * 3, &error));
    EXPECT(FRAMELOCK_RESULT_ARGUMENT, framelock_frame_convert(frame, FRAMELOCK_PIXELS_BGR, rgb, sizeof rgb, 959, &error));
    EXPECT(FRAMELOCK_RESULT_ARGUMENT, framelock_frame_convert(frame, FRAMELOCK_PIXELS_BGR, rgb, SIZE_MAX, 960, &error));
    EXPECT(FRAMELOCK_RESULT_ARGUMENT, framelock_frame_convert(frame, FRAMELOCK_PIXELS_NONE, rgb, sizeof rgb, 960, &error));
    EXPECT(FRAMELOCK_RESULT_ARGUMENT, framelock_frame_convert(frame, (FramelockPixels)77, rgb, sizeof rgb, 960, &error));
}

static void layouts_show_the_same_picture(FramelockAggregator *aggregator) {
    FramelockSubscription *subscription = subscribe(aggregator, BGR);
    FramelockPacket *packet = next_complete(subscription);
    check_layouts(framelock_packet_find(packet, "left"));
    check_layouts(framelock_packet_find(packet, "right"));
    // It outlives what it came from.
    FramelockPacket *kept = framelock_packet_retain(packet);
    FramelockImage image, same;
    OK(framelock_frame_image(framelock_packet_frame(packet, 1), &image, &error));
    framelock_packet_release(packet);
    framelock_subscription_free(subscription);
    OK(framelock_frame_image(framelock_packet_frame(kept, 1), &same, &error));
    CHECK(kept == packet && image.data == same.data, "another packet");
    check_layouts(framelock_packet_frame(kept, 1));
    framelock_packet_release(kept);
}

static void motion_vectors_are_what_they_are_said_to_be(FramelockAggregator *aggregator) {
    FramelockSubscription *subscription =
        subscribe(aggregator, (FramelockSubscribeOptions){.motion_vectors = 1, .packets = 60});
    size_t total = 0;
    for (int packets = 0; packets < 40; packets++) {
        FramelockPacket *packet = next_complete(subscription);
        const FramelockFrame *frame = framelock_packet_frame(packet, 0);
        const FramelockMotionVector *vectors;
        size_t count;
        OK(framelock_frame_motion_vectors(frame, &vectors, &count, &error));
        CHECK((vectors == NULL) == (count == 0), "%zu", count);
        CHECK(count == 0 || framelock_frame_info(frame)->frame_type == FRAMELOCK_FRAME_TYPE_P, "in an I frame");
        total += count;
        for (const FramelockMotionVector *v = vectors; v != vectors + count; v++) {
            CHECK(v->source < 0 && v->motion_scale == 4, "from the past: there are no B-frames");
            CHECK((v->w == 16 || v->w == 8 || v->w == 4) && (v->h == 16 || v->h == 8 || v->h == 4), "%ux%u", v->w, v->h);
            CHECK(abs((v->src_x - v->dst_x) * 4 - v->motion_x) < 4, "%d to %d", v->src_x, v->dst_x);
            CHECK(abs((v->src_y - v->dst_y) * 4 - v->motion_y) < 4, "%d to %d", v->src_y, v->dst_y);
            CHECK(v->dst_x >= 0 && v->dst_x < 320 && v->dst_y >= 0 && v->dst_y < 240, "%d,%d", v->dst_x, v->dst_y);
        }
        FramelockImage image;
        EXPECT(FRAMELOCK_RESULT_NOT_REQUESTED, framelock_frame_image(frame, &image, &error));
        framelock_packet_release(packet);
    }
    CHECK(total > 100, "%zu vectors in 40 pictures", total);
    framelock_subscription_free(subscription);
}

static void consumers_have_their_own_pace(FramelockAggregator *aggregator) {
    FramelockSubscription *newest = subscribe(aggregator, (FramelockSubscribeOptions){0});
    FramelockSubscription *slow = subscribe(aggregator, BGR);
    FramelockSubscription *fast = subscribe(aggregator, (FramelockSubscribeOptions){.packets = 60});
    FramelockPacket *packet = NULL;
    for (int count = 0; count < 30; count++) {
        framelock_packet_release(packet);
        packet = next_packet(fast);
    }
    const uint64_t last = framelock_packet_info(packet)->number;
    framelock_packet_release(packet);
    packet = next_packet(newest);
    CHECK(framelock_packet_info(packet)->number >= last, "one that is slow gets the newest");
    framelock_packet_release(packet);
    FramelockCounters counters;
    OK(framelock_subscription_counters(newest, &counters, &error));
    CHECK(counters.delivered == 1 && counters.skipped >= 29, "%llu", (unsigned long long)counters.skipped);
    CHECK(counters.offered >= counters.delivered + counters.skipped, "more than there were");
    packet = next_complete(slow);
    code_of(framelock_packet_frame(packet, 0));
    framelock_packet_release(packet);
    framelock_subscription_free(fast);
    framelock_subscription_free(slow);
    framelock_subscription_free(newest);
}

static void an_event_loop_is_told_of_packets(FramelockAggregator *aggregator) {
    FramelockSubscription *subscription = subscribe(aggregator, (FramelockSubscribeOptions){.packets = 60});
    struct pollfd word = {.events = POLLIN};
    int again;
    OK(framelock_subscription_fd(subscription, &word.fd, &error));
    OK(framelock_subscription_fd(subscription, &again, &error));
    CHECK(word.fd >= 0 && again == word.fd, "one file for all");
    int taken = 0, nothing = 0;
    while (taken < 20 || nothing < 5) {
        CHECK(poll(&word, 1, 60000) == 1, "nobody said a word");
        FramelockPacket *packet;
        const FramelockResult result = framelock_subscription_next(subscription, 0, &packet, NULL);
        CHECK(result == FRAMELOCK_RESULT_OK || result == FRAMELOCK_RESULT_TIMEOUT, "%u", (unsigned)result);
        CHECK((packet != NULL) == (result == FRAMELOCK_RESULT_OK), "a packet that is none");
        taken += packet != NULL;
        nothing += packet == NULL;
        framelock_packet_release(packet);
    }
    framelock_subscription_close(subscription);
    CHECK(poll(&word, 1, 0) == 1, "it is over, and the file does not say so");
    framelock_subscription_free(subscription);
}

static void a_camera_that_is_not_there_has_no_frame(FramelockAggregator *aggregator) {
    char silent[64];
    silent_source(silent);
    FramelockSubscription *subscription = subscribe(aggregator, BGR);
    OK(framelock_aggregator_add_camera(aggregator, "absent", silent, &error));
    EXPECT_SAYS(FRAMELOCK_RESULT_CONFIG, "absent", framelock_aggregator_add_camera(aggregator, "absent", silent, &error));
    FramelockPacket *packet = next_packet(subscription);
    while (framelock_packet_count(packet) < 3 || info_of(packet, "left")->status != FRAMELOCK_FRAME_STATUS_OKAY) {
        framelock_packet_release(packet);
        packet = next_packet(subscription);
    }
    const FramelockFrame *frame = framelock_packet_find(packet, "absent");
    const FramelockFrameInfo *info = framelock_frame_info(frame);
    CHECK(!framelock_packet_info(packet)->complete, "complete without a camera");
    CHECK(info->status == FRAMELOCK_FRAME_STATUS_STARTING, "%s", framelock_frame_status_name(info->status));
    CHECK(!info->data && !info->size && !info->time_ns && !info->time_source && !info->width, "something of nothing");
    FramelockImage image;
    FramelockPlanes planes;
    uint8_t byte;
    EXPECT_SAYS(FRAMELOCK_RESULT_NO_FRAME, "\"absent\" has no frame in packet", framelock_frame_image(frame, &image, &error));
    EXPECT_SAYS(FRAMELOCK_RESULT_NO_FRAME, "starting", framelock_frame_planes(frame, &planes, &error));
    EXPECT(FRAMELOCK_RESULT_NO_FRAME, framelock_frame_convert(frame, FRAMELOCK_PIXELS_BGR, &byte, 1, 1, &error));
    framelock_packet_release(packet);
    OK(framelock_aggregator_remove_camera(aggregator, "absent", &error));
    EXPECT_SAYS(FRAMELOCK_RESULT_CONFIG, "absent", framelock_aggregator_remove_camera(aggregator, "absent", &error));
    for (packet = next_packet(subscription); framelock_packet_count(packet) != 2; packet = next_packet(subscription)) {
        framelock_packet_release(packet);
    }
    framelock_packet_release(packet);
    framelock_subscription_free(subscription);
}

// What is known of camera `index` once its state is `state`.
static FramelockStatus *status_when(FramelockAggregator *aggregator, size_t index, FramelockCameraState state) {
    const int64_t deadline = monotonic_ns() + PATIENCE_NS;
    for (;;) {
        FramelockStatus *status;
        OK(framelock_aggregator_status(aggregator, &status, &error));
        if (framelock_status_camera(status, index)->state == state) return status;
        framelock_status_free(status);
        CHECK(monotonic_ns() < deadline, "camera %zu never was %s", index, framelock_camera_state_name(state));
        poll(NULL, 0, 20);
    }
}

static void a_camera_that_dies_is_broken_and_holds_nobody_up(FramelockAggregator *aggregator, Sender *right) {
    FramelockStatus *status = status_when(aggregator, 1, FRAMELOCK_CAMERA_STATE_LIVE);
    const FramelockCameraStatus *camera = framelock_status_camera(status, 1);
    CHECK(framelock_status_count(status) == 2 && !framelock_status_camera(status, 2), "two cameras");
    CHECK(!strcmp(camera->name, "right") && !strncmp(camera->address, "127.0.0.1:", 10), "%s", camera->address);
    CHECK(camera->frames > 100 && camera->packets > camera->frames && camera->used > 50, "counters");
    CHECK(camera->bytes > 100000 && camera->damaged < camera->frames, "counters of bytes and faults");
    CHECK(camera->time_source != FRAMELOCK_TIME_SOURCE_NONE && camera->uncertainty_ns > 0, "its last time");
    CHECK(camera->transit_ns < 60000000000, "%lld", (long long)camera->transit_ns);
    framelock_status_free(status);

    FramelockSubscription *subscription = subscribe(aggregator, (FramelockSubscribeOptions){.packets = 60});
    kill_sender(right);
    FramelockPacket *packet = next_packet(subscription);
    while (info_of(packet, "right")->status != FRAMELOCK_FRAME_STATUS_BROKEN) {
        framelock_packet_release(packet);
        packet = next_packet(subscription);
    }
    for (int count = 0; count < 5; count++) {
        framelock_packet_release(packet);
        packet = next_packet(subscription);
        CHECK(info_of(packet, "left")->status == FRAMELOCK_FRAME_STATUS_OKAY, "left is held up");
    }
    framelock_packet_release(packet);
    framelock_status_free(status_when(aggregator, 1, FRAMELOCK_CAMERA_STATE_BROKEN));
    framelock_status_free(status_when(aggregator, 0, FRAMELOCK_CAMERA_STATE_LIVE));
    framelock_subscription_free(subscription);
}

int main(void) {
    const SenderOptions later = {"test:phase=11ms", USUAL.size, USUAL.bitrate, USUAL.fps};
    Sender left = start_sender("left", USUAL), right = start_sender("right", later);
    FramelockAggregator *aggregator = aggregator_of("left", left.source, "right", right.source, NULL);
    times_are_the_truth_within_their_bounds(aggregator);
    a_packet_is_what_its_frames_are(aggregator);
    the_compressed_frame_is_there(aggregator);
    layouts_show_the_same_picture(aggregator);
    motion_vectors_are_what_they_are_said_to_be(aggregator);
    consumers_have_their_own_pace(aggregator);
    an_event_loop_is_told_of_packets(aggregator);
    a_camera_that_is_not_there_has_no_frame(aggregator);
    a_camera_that_dies_is_broken_and_holds_nobody_up(aggregator, &right);
    framelock_aggregator_free(aggregator);
    kill_sender(&left);
    return 0;
}
