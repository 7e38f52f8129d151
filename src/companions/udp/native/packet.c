#include "packet.h"

bool read_packet(packet_t *p, uint8_t *bytes, size_t size) {
    if (size < 20) return false;
    p->bytes = bytes;
    if (bytes[0] >> 4 == 4) {
        size_t header = (bytes[0] & 15) * 4;
        p->length = half_at(bytes + 2);
        if (header < 20 || p->length < header || p->length > size) return false;
        p->family = 4;
        p->payload = header;
        p->protocol = bytes[9];
        p->is_later_fragment = (half_at(bytes + 6) & 0x1fff) != 0;
        p->is_plain = header == 20 && (half_at(bytes + 6) & 0x3fff) == 0;
        return true;
    }
    if (bytes[0] >> 4 != 6 || size < 40) return false;
    p->length = 40 + half_at(bytes + 4);
    if (p->length > size) return false;
    p->family = 6;
    p->payload = 40;
    p->protocol = bytes[6];
    p->is_later_fragment = false;
    p->is_plain = true;
    return true;
}

bool is_icmp_error(const packet_t *p) {
    int type = p->length > p->payload ? p->bytes[p->payload] : 0;
    if (p->family == 6) return p->protocol == IPPROTO_ICMPV6 && type < 128;
    return p->protocol == IPPROTO_ICMP && type != 0 && type != 8 && type != 13 && type != 14;
}

void decrement_ttl(packet_t *p) {
    (*ttl_of(p))--;
    if (p->family == 6) return;
    uint32_t sum = half_at(p->bytes + 10) + 0x100u;
    put_half(p->bytes + 10, (sum & 0xffff) + (sum >> 16));
}
