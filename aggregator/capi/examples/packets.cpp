// Prints what every packet has: how far its frames are apart, and of each the time, its bound and its mean brightness.
//
//     make capi
//     export PKG_CONFIG_PATH=$PWD/target/capi/lib/pkgconfig LD_LIBRARY_PATH=$PWD/target/capi/lib
//     c++ -std=c++17 aggregator/capi/examples/packets.cpp $(pkg-config --cflags --libs framelock) -o packets
//     ./packets 100 left rtp://:5000 right rtp://:5002
#include <iostream>
#include <numeric>
#include <string>

#include <framelock.hpp>

namespace {

double brightness(const framelock::Image &image) {
    double sum = 0;
    for (std::size_t y = 0; y < image.height; y++) {
        sum = std::accumulate(image.row(y), image.row(y) + image.width * std::size_t{3}, sum);
    }
    return sum / (3.0 * image.width * image.height);
}

double milliseconds(framelock::nanoseconds time) {
    return std::chrono::duration<double, std::milli>(time).count();
}

void show(const framelock::Packet &packet) {
    std::cout << "packet " << packet.number() << " within " << milliseconds(packet.spread_bound()) << " ms\n";
    for (const framelock::Frame frame : packet) {
        std::cout << "  " << frame.camera() << ": ";
        if (frame) {
            // With OpenCV: cv::Mat(image.height, image.width, CV_8UC3, const_cast<uint8_t *>(image.data), image.stride)
            const framelock::Image image = frame.image();
            std::cout << frame.time().time_since_epoch().count() << " ns +-" << frame.uncertainty().count() << " by "
                      << to_string(frame.time_source()) << ", " << image.width << 'x' << image.height << ", brightness "
                      << brightness(image) << '\n';
        } else {
            std::cout << to_string(frame.status()) << '\n';
        }
    }
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 4 || argc % 2 != 0) {
        std::cerr << "usage: " << argv[0] << " PACKETS NAME SOURCE [NAME SOURCE]...\n";
        return 2;
    }
    try {
        framelock::Config config;
        for (int n = 2; n < argc; n += 2) config.add_camera(argv[n], argv[n + 1]);
        framelock::Aggregator aggregator(config);
        long left = std::stol(argv[1]);
        for (const framelock::Packet &packet : aggregator.subscribe({framelock::Pixels::bgr})) {
            show(packet);
            if (--left <= 0) return 0;
        }
        std::cout << "every source has come to its end\n";
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
