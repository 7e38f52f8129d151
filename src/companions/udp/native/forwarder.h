// What the parts of the forwarder share.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "settings.h"

enum {
    VNET = 10,         // bytes of the header before each packet of the device
    LONGEST = 65535,   // bytes of a packet
    SLOT = LONGEST + 1,
    HEADERS = 256,     // bytes of the longest headers of a packet that is cut or joined
};
enum { FIN = 0x01, PSH = 0x08, ACK = 0x10, CWR = 0x80 };
// linux/virtio_net.h
enum { NEEDS_CSUM = 1, GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_UDP_L4 = 5 };
typedef struct {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset;
} vnet_header_t;
// linux/udp.h, which musl's compiler does not find.
#ifndef SOL_UDP
#define SOL_UDP 17
#endif
enum { UDP_SEGMENT = 103, UDP_GRO = 104 };

extern settings_t *settings;
extern int tun, sockets[2], raw[2];  // by family: IPv4, IPv6; -1: none
extern struct counters {
    unsigned long sent, received, strangers, malformed, unroutable, expired, failed;
} counters;

// Milliseconds of a clock that does not jump.
double now(void);

// Opens a queue of the device, again after somebody has deleted that.
void open_tun(void);
// Opens a socket at which this node receives in a family; -1 for none.
int open_socket(int place);
bool is_where_it_should_be(int fd, int place);

// Carry what is there, at most a burst.
void send_burst(void);
// Returns whether there may be more.
bool receive_burst(int fd, int family);

