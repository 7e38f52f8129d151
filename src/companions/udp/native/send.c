#include <errno.h>
#include <unistd.h>

#include "forwarder.h"
#include "refusal.h"
#include "segments.h"
#include "train.h"

enum {
    BURST = 64,
    SLOTS = 8,  // packets of a burst that wait together
};

static uint8_t from_tun[SLOTS][VNET + SLOT] __attribute__((aligned(64)));

static void send_packet(uint8_t *bytes, size_t size, const vnet_header_t *vnet) {
    packet_t p;
    if (!read_packet(&p, bytes, size)) {
        counters.malformed++;
        return;
    }
    const uint8_t *destination = destination_of(&p);
    const route_t *route = find_route(settings, p.family, destination);
    int fd = route ? sockets[place(route->node.family)] : -1;
    if (fd < 0) {
        counters.unroutable++;
        bool is_multicast = p.family == 4 ? destination[0] >= 224 : destination[0] == 0xff;
        if (!route && !is_multicast) refuse(&p, 3, 1);
        return;
    }
    if (*ttl_of(&p) <= 1) {
        counters.expired++;
        refuse(&p, 11, 3);
        return;
    }
    decrement_ttl(&p);
    if (!cut(&p, vnet, fd, route)) counters.malformed++;
}

void send_burst(void) {
    for (int i = 0; i < BURST; i++) {
        uint8_t *bytes = from_tun[i % SLOTS];
        if (i % SLOTS == 0) send_train();
        ssize_t count = read(tun, bytes, sizeof from_tun[0]);
        if (count < 0 && errno == EBADFD) open_tun();  // somebody has deleted the device
        if (count <= VNET) break;
        vnet_header_t vnet;
        memcpy(&vnet, bytes, VNET);
        send_packet(bytes + VNET, (size_t)count - VNET, &vnet);
    }
    send_train();
}
