/* What FFmpeg itself says of a clip: for every decoded frame its PTS, its type and all motion vectors, as text.
 * Written after FFmpeg's doc/examples/extract_mvs.c; shares no code with Framelock. */
#include <inttypes.h>
#include <stdio.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/motion_vector.h>

static void print_frame(const AVFrame *frame)
{
    const AVFrameSideData *data = av_frame_get_side_data(frame, AV_FRAME_DATA_MOTION_VECTORS);
    size_t count = data ? data->size / sizeof(AVMotionVector) : 0;
    printf("%" PRId64 " %c %zu\n", frame->pts, av_get_picture_type_char(frame->pict_type), count);
    for (size_t i = 0; i < count; i++) {
        const AVMotionVector *mv = (const AVMotionVector *)data->data + i;
        printf("%d %d %d %d %d %d %d %d %d %d\n", mv->source, mv->w, mv->h, mv->src_x, mv->src_y, mv->dst_x,
               mv->dst_y, mv->motion_x, mv->motion_y, mv->motion_scale);
    }
}

static int decode(AVCodecContext *codec, const AVPacket *packet, AVFrame *frame)
{
    int error = avcodec_send_packet(codec, packet);
    if (error < 0)
        return error;
    while ((error = avcodec_receive_frame(codec, frame)) >= 0) {
        print_frame(frame);
        av_frame_unref(frame);
    }
    return error == AVERROR(EAGAIN) || error == AVERROR_EOF ? 0 : error;
}

int main(int argc, char **argv)
{
    AVFormatContext *input = NULL;
    const AVCodec *decoder = NULL;
    AVDictionary *options = NULL;
    if (argc != 2 || avformat_open_input(&input, argv[1], NULL, NULL) < 0 ||
        avformat_find_stream_info(input, NULL) < 0)
        return 2;
    int stream = av_find_best_stream(input, AVMEDIA_TYPE_VIDEO, -1, -1, &decoder, 0);
    if (stream < 0)
        return 3;
    AVCodecContext *codec = avcodec_alloc_context3(decoder);
    avcodec_parameters_to_context(codec, input->streams[stream]->codecpar);
    codec->thread_count = 1;
    av_dict_set(&options, "flags2", "+export_mvs", 0);
    if (avcodec_open2(codec, decoder, &options) < 0)
        return 4;
    AVPacket *packet = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    int error = 0;
    while (error >= 0 && av_read_frame(input, packet) >= 0) {
        if (packet->stream_index == stream)
            error = decode(codec, packet, frame);
        av_packet_unref(packet);
    }
    if (error >= 0)
        error = decode(codec, NULL, frame);
    av_frame_free(&frame);
    av_packet_free(&packet);
    avcodec_free_context(&codec);
    avformat_close_input(&input);
    return error < 0;
}
