#include "segments.h"

#include "train.h"

enum { MOST = 4096 };  // segments of a packet

bool cut(packet_t *p, const vnet_header_t *vnet, int fd, const route_t *route) {
    int gso = vnet->gso_type & 0x7f;
    if (gso == GSO_NONE) {
        if (vnet->flags & NEEDS_CSUM) {
            size_t start = vnet->csum_start, field = start + vnet->csum_offset;
            if (field + 2 > p->length) return false;
            put_sum(p->bytes + field, sum_of(p->bytes + start, p->length - start));
            if (vnet->csum_offset == 6 && half_at(p->bytes + field) == 0) put_half(p->bytes + field, 0xffff);
        }
        train_room(fd, route, p->length);
        train_add(0, p->bytes, p->length);
        return true;
    }
    bool is_tcp = gso == GSO_TCPV4 || gso == GSO_TCPV6;
    size_t l4 = vnet->csum_start, size = vnet->gso_size;
    if ((!is_tcp && gso != GSO_UDP_L4) || size == 0 || !(vnet->flags & NEEDS_CSUM)) return false;
    if (l4 < p->payload || l4 + (is_tcp ? 20 : 8) > p->length) return false;
    size_t header = l4 + (is_tcp ? (size_t)(p->bytes[l4 + 12] >> 4) * 4 : 8);
    if (header > p->length || header > HEADERS || (is_tcp && header < l4 + 20)) return false;
    size_t payload = p->length - header, count = payload ? (payload + size - 1) / size : 1;
    if (count > MOST) return false;
    uint64_t pseudo = pseudo_header(p, is_tcp ? IPPROTO_TCP : IPPROTO_UDP);
    uint32_t sequence = is_tcp ? word_at(p->bytes + l4 + 4) : 0, id = half_at(p->bytes + 4);
    for (size_t i = 0; i < count; i++) {
        uint8_t *data = p->bytes + header + i * size;
        size_t part = i == count - 1 ? payload - i * size : size, length = header + part;
        uint8_t *to = train_room(fd, route, length);
        memcpy(to, p->bytes, header);
        if (p->family == 4) {
            put_half(to + 2, (uint32_t)length);
            put_half(to + 4, id + (uint32_t)i);
            put_half(to + 10, 0);
            put_sum(to + 10, sum_of(to, p->payload));
        } else put_half(to + 4, (uint32_t)(length - 40));
        size_t field = l4 + (is_tcp ? 16 : 6);
        if (is_tcp) {
            put_word(to + l4 + 4, sequence + (uint32_t)(i * size));
            if (i < count - 1) to[l4 + 13] &= (uint8_t)~(FIN | PSH);
            if (i > 0) to[l4 + 13] &= (uint8_t)~CWR;
        } else put_half(to + l4 + 4, (uint32_t)(length - l4));
        put_half(to + field, 0);
        // TCP's and UDP's headers are of even sizes: sums of header and payload add up.
        uint64_t sum = pseudo + as_sum((uint32_t)(length - l4)) + sum_of(to + l4, header - l4) + sum_of(data, part);
        put_sum(to + field, sum);
        if (!is_tcp && half_at(to + field) == 0) put_half(to + field, 0xffff);
        train_add(header, data, part);
    }
    return true;
}
