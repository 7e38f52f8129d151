#include "refusal.h"

#include "forwarder.h"

enum { ERRORS_A_SECOND = 100 };

void refuse(const packet_t *p, int type4, int type6) {
    static double since;
    static int left;
    const ip_t *router = &settings->router[place(p->family)];
    if (router->family == 0 || p->is_later_fragment || is_icmp_error(p)) return;
    if (now() - since >= 1000) {
        since = now();
        left = ERRORS_A_SECOND;
    }
    if (left-- <= 0) return;
    uint8_t out[1280] = {0};
    size_t header = p->family == 4 ? 20 : 40, most = p->family == 4 ? 576 : 1280;
    size_t quoted = p->length < most - header - 8 ? p->length : most - header - 8, length = header + 8 + quoted;
    ip_t sender = {.family = (uint8_t)p->family};
    memcpy(sender.bytes, source_of(p), (size_t)size_of(p->family));
    memcpy(out + header + 8, p->bytes, quoted);
    uint64_t pseudo = 0;
    if (p->family == 4) {
        out[0] = 0x45;
        out[1] = 0xc0;
        put_half(out + 2, (uint32_t)length);
        out[8] = 64;
        out[9] = IPPROTO_ICMP;
        memcpy(out + 12, router->bytes, 4);
        memcpy(out + 16, sender.bytes, 4);
        put_sum(out + 10, sum_of(out, 20));
        out[header] = (uint8_t)type4;
    } else {
        out[0] = 0x60;
        put_half(out + 4, (uint32_t)(8 + quoted));
        out[6] = IPPROTO_ICMPV6;
        out[7] = 64;
        memcpy(out + 8, router->bytes, 16);
        memcpy(out + 24, sender.bytes, 16);
        pseudo = sum_of(out + 8, 32) + as_sum(IPPROTO_ICMPV6) + as_sum((uint32_t)(8 + quoted));
        out[header] = (uint8_t)type6;
    }
    put_sum(out + header + 2, pseudo + sum_of(out + header, 8 + quoted));
    struct sockaddr_storage name;
    socklen_t size = socket_name(&sender, 0, &name);
    if (sendto(raw[place(p->family)], out, length, 0, (struct sockaddr *)&name, size) < 0) counters.failed++;
}
