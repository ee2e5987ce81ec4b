/* SPDX-License-Identifier: Apache-2.0
 * FFmpeg's libraries, loaded when the first video is read: linked, they and the hundred
 * libraries behind them would take three quarters of every command's start [N99].
 * They are the major versions that were there when this was built. */
#ifndef G4_INPUT_LIBAV_H
#define G4_INPUT_LIBAV_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/avutil.h>
#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

/* Side data of a whole stream moved. */
#if LIBAVFORMAT_VERSION_MAJOR >= 61
#define G4_LIBAV_SIDE_CODEC(X) X(av_packet_side_data_get)
#define G4_LIBAV_SIDE_FORMAT(X)
#else
#define G4_LIBAV_SIDE_CODEC(X)
#define G4_LIBAV_SIDE_FORMAT(X) X(av_stream_get_side_data)
#endif

#define G4_LIBAV_UTIL(X) X(av_compare_ts) X(av_d2q) X(av_frame_alloc) X(av_frame_free) \
    X(av_frame_get_side_data) X(av_frame_move_ref) X(av_frame_unref) X(av_free)        \
    X(av_log_set_level) X(av_malloc) X(av_rescale_q) X(av_strdup) X(av_strerror)
#define G4_LIBAV_SCALE(X) X(sws_freeContext) X(sws_getCachedContext) X(sws_getCoefficients) \
    X(sws_scale) X(sws_setColorspaceDetails) X(swscale_version)
#define G4_LIBAV_CODEC(X) X(av_packet_alloc) X(av_packet_free) X(av_packet_unref)    \
    X(avcodec_alloc_context3) X(avcodec_free_context) X(avcodec_open2)               \
    X(avcodec_parameters_to_context) X(avcodec_receive_frame) X(avcodec_send_packet) \
    X(avcodec_version) \
    G4_LIBAV_SIDE_CODEC(X)
#define G4_LIBAV_FORMAT(X) X(av_find_best_stream) X(av_guess_frame_rate) X(av_read_frame) \
    X(avformat_alloc_context) X(avformat_close_input) X(avformat_find_stream_info)        \
    X(avformat_open_input) X(avformat_version) X(avio_alloc_context) X(avio_context_free) \
    G4_LIBAV_SIDE_FORMAT(X)

enum { G4_LIBAV_UTIL_LIB, G4_LIBAV_SCALE_LIB, G4_LIBAV_CODEC_LIB, G4_LIBAV_FORMAT_LIB,
       G4_LIBAV_LIBS };

struct g4_libav {
    void *library[G4_LIBAV_LIBS];
#define G4_LIBAV_FIELD(name) __typeof__(&(name)) name;
    G4_LIBAV_UTIL(G4_LIBAV_FIELD)
    G4_LIBAV_SCALE(G4_LIBAV_FIELD)
    G4_LIBAV_CODEC(G4_LIBAV_FIELD)
    G4_LIBAV_FORMAT(G4_LIBAV_FIELD)
#undef G4_LIBAV_FIELD
};

#endif
