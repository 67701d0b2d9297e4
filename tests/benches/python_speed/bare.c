/* What decoding and conversion alone cost: libavcodec with one thread a stream and libswscale to BGR, nothing around
   them. The streams' packets are in memory beforehand.

   bare CLIP STREAMS FPS SECONDS: with FPS 0 as fast as possible, else each stream at its pace, as live cameras come.
   Prints frames and CPU seconds as JSON. */

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { MAX_STREAMS = 16 };

struct stream {
    AVCodecContext *decoder;
    struct SwsContext *converter;
    AVFrame *frame;
    uint8_t *bgr;
    unsigned next;
};

static AVPacket **packets;
static unsigned packet_count;

static void check(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "bare: %s failed\n", what);
        exit(1);
    }
}

static AVCodecParameters *read_clip(const char *path) {
    AVFormatContext *file = NULL;
    check(avformat_open_input(&file, path, NULL, NULL) == 0, "opening the clip");
    check(avformat_find_stream_info(file, NULL) >= 0, "reading the clip");
    AVPacket *packet = av_packet_alloc();
    /* MP4 has lengths where a stream has start codes; the decoder takes both. */
    while (av_read_frame(file, packet) == 0) {
        packets = realloc(packets, (packet_count + 1) * sizeof *packets);
        packets[packet_count++] = packet;
        packet = av_packet_alloc();
    }
    check(packet_count > 0, "finding packets");
    return file->streams[0]->codecpar;
}

static void open_stream(struct stream *stream, const AVCodecParameters *parameters) {
    const AVCodec *codec = avcodec_find_decoder(parameters->codec_id);
    stream->decoder = avcodec_alloc_context3(codec);
    check(avcodec_parameters_to_context(stream->decoder, parameters) == 0, "taking the parameters");
    stream->decoder->thread_count = 1;
    check(avcodec_open2(stream->decoder, codec, NULL) == 0, "opening the decoder");
    int width = parameters->width, height = parameters->height;
    stream->converter = sws_getContext(width, height, AV_PIX_FMT_YUV420P, width, height, AV_PIX_FMT_BGR24,
                                       SWS_BICUBIC, NULL, NULL, NULL);
    stream->frame = av_frame_alloc();
    stream->bgr = malloc((size_t)width * height * 3);
    check(stream->converter && stream->frame && stream->bgr, "allocating");
}

/* Decodes one packet; returns how many pictures came out. */
static unsigned step(struct stream *stream) {
    check(avcodec_send_packet(stream->decoder, packets[stream->next]) == 0, "decoding");
    stream->next = (stream->next + 1) % packet_count;
    unsigned pictures = 0;
    while (avcodec_receive_frame(stream->decoder, stream->frame) == 0) {
        uint8_t *out[1] = {stream->bgr};
        int stride[1] = {stream->frame->width * 3};
        sws_scale(stream->converter, (const uint8_t *const *)stream->frame->data, stream->frame->linesize, 0,
                  stream->frame->height, out, stride);
        pictures++;
    }
    return pictures;
}

static double cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + 1e-6 * (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + 1e-9 * time.tv_nsec;
}

int main(int argc, char **argv) {
    check(argc == 5, "reading the arguments");
    int streams = atoi(argv[2]);
    double fps = atof(argv[3]), seconds = atof(argv[4]);
    check(streams > 0 && streams <= MAX_STREAMS, "reading the arguments");
    av_log_set_level(AV_LOG_ERROR);
    AVCodecParameters *parameters = read_clip(argv[1]);
    static struct stream all[MAX_STREAMS];
    for (int n = 0; n < streams; n++) {
        open_stream(&all[n], parameters);
        /* Key frames do not come at once from all cameras. */
        for (unsigned before = n * packet_count / streams; before > 0; before--) step(&all[n]);
    }
    double begin = now(), cpu_before = cpu(), due = begin;
    unsigned long frames = 0;
    while (now() - begin < seconds) {
        for (int n = 0; n < streams; n++) {
            if (fps > 0) {
                due += 1 / fps / streams;
                struct timespec until = {(time_t)due, (long)((due - (time_t)due) * 1e9)};
                clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
            }
            frames += step(&all[n]);
        }
    }
    printf("{\"frames\": %lu, \"cpu\": %.6f}\n", frames, cpu() - cpu_before);
    return 0;
}
