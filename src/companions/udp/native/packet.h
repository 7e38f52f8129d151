// The IP header of a packet in memory.
#pragma once
#include <netinet/in.h>
#include <stdbool.h>

#include "bytes.h"
#include "settings.h"

typedef struct {
    uint8_t *bytes;
    size_t length, payload;  // bytes; where the payload begins
    int family, protocol;
    bool is_later_fragment, is_plain;
} packet_t;

bool read_packet(packet_t *p, uint8_t *bytes, size_t size);
// No error is sent about such a packet (RFC 1122 §3.2.2, RFC 4443 §2.4).
bool is_icmp_error(const packet_t *p);
// As each router does; IPv4's checksum follows (RFC 1141).
void decrement_ttl(packet_t *p);

static inline uint8_t *source_of(const packet_t *p) { return p->bytes + (p->family == 4 ? 12 : 8); }
static inline uint8_t *destination_of(const packet_t *p) { return p->bytes + (p->family == 4 ? 16 : 24); }
static inline uint8_t *ttl_of(const packet_t *p) { return p->bytes + (p->family == 4 ? 8 : 7); }

// The sum of the pseudo-header without the length.
static inline uint64_t pseudo_header(const packet_t *p, int protocol) {
    return sum_of(source_of(p), 2 * size_of(p->family)) + as_sum((uint32_t)protocol);
}
