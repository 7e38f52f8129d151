// What is received: packets of a TCP connection that follow one another are joined, as the kernel does for a network card.
#define _GNU_SOURCE
#include <errno.h>
#include <sys/uio.h>

#include "forwarder.h"
#include "packet.h"

enum { MESSAGES = 16 };

static uint8_t received[MESSAGES][SLOT] __attribute__((aligned(64)));

static struct {
    uint8_t head[VNET + HEADERS];
    struct iovec vectors[1024];  // as many as writev takes
    int count;  // of vectors; 0: nothing
    size_t length, header, l4, segment;
    uint32_t next;
    int family, packets;
    bool is_complete;
} joined;

static void write_tun(const struct iovec *vectors, int count) {
    ssize_t result = writev(tun, vectors, count);
    if (result >= 0) return;
    if (errno == EBADFD) open_tun();
    if (errno == EAGAIN) counters.failed++;
    else counters.malformed++;
}

static void flush(void) {
    if (joined.count == 0) return;
    uint8_t *ip = joined.head + VNET;
    vnet_header_t vnet = {0};
    if (joined.packets > 1) {
        if (joined.family == 4) {
            put_half(ip + 2, (uint32_t)joined.length);
            put_half(ip + 10, 0);
            put_sum(ip + 10, sum_of(ip, 20));
        } else put_half(ip + 4, (uint32_t)(joined.length - 40));
        packet_t p = {.bytes = ip, .family = joined.family};
        uint64_t sum = pseudo_header(&p, IPPROTO_TCP) + as_sum((uint32_t)(joined.length - joined.l4));
        uint16_t half = folded(sum);
        memcpy(ip + joined.l4 + 16, &half, 2);
        vnet.flags = NEEDS_CSUM;
        vnet.gso_type = joined.family == 4 ? GSO_TCPV4 : GSO_TCPV6;
        vnet.hdr_len = (uint16_t)joined.header;
        vnet.gso_size = (uint16_t)joined.segment;
        vnet.csum_start = (uint16_t)joined.l4;
        vnet.csum_offset = 16;
    }
    memcpy(joined.head, &vnet, VNET);
    write_tun(joined.vectors, joined.count);
    joined.count = 0;
}

static bool is_same_flow(const packet_t *p) {
    const uint8_t *a = p->bytes, *b = joined.head + VNET;
    bool ip = p->family == 4 ? memcmp(a, b, 2) == 0 && memcmp(a + 6, b + 6, 4) == 0 && memcmp(a + 12, b + 12, 8) == 0
                             : memcmp(a, b, 4) == 0 && memcmp(a + 6, b + 6, 34) == 0;
    a += p->payload;
    b += p->payload;
    return ip && memcmp(a, b, 4) == 0 && memcmp(a + 8, b + 8, 5) == 0 && memcmp(a + 14, b + 14, 2) == 0 &&
           memcmp(a + 18, b + 18, joined.header - joined.l4 - 18) == 0;
}

// A packet joins only if its checksum is right: the kernel will not look at it again.
static bool is_joinable(const packet_t *p, size_t header) {
    const uint8_t *tcp = p->bytes + p->payload;
    size_t size = p->length - p->payload;
    if (header - p->payload < 20 || header >= p->length || header > HEADERS || (tcp[13] & ~PSH) != ACK) return false;
    return folded(pseudo_header(p, IPPROTO_TCP) + as_sum((uint32_t)size) + sum_of(tcp, size)) == 0xffff;
}

static void take(uint8_t *bytes, size_t size) {
    packet_t p;
    if (!read_packet(&p, bytes, size) || p.length != size) {
        counters.malformed++;
        return;
    }
    counters.received++;
    bool is_tcp = p.protocol == IPPROTO_TCP && p.is_plain && p.length >= p.payload + 20;
    size_t header = is_tcp ? p.payload + (size_t)(bytes[p.payload + 12] >> 4) * 4 : 0;
    bool joins = is_tcp && is_joinable(&p, header);
    size_t part = p.length - header;
    uint8_t push = joins ? bytes[p.payload + 13] & PSH : 0;
    if (joins && joined.count && !joined.is_complete && joined.family == p.family && header == joined.header &&
        part <= joined.segment && joined.length + part <= LONGEST && word_at(bytes + p.payload + 4) == joined.next &&
        joined.count < (int)(sizeof joined.vectors / sizeof *joined.vectors) && is_same_flow(&p)) {
        joined.vectors[joined.count++] = (struct iovec){bytes + header, part};
        joined.length += part;
        joined.next += (uint32_t)part;
        joined.packets++;
        joined.head[VNET + joined.l4 + 13] |= push;
        joined.is_complete = push || part < joined.segment;
        return;
    }
    flush();
    if (!joins) {
        static uint8_t none[VNET];
        struct iovec vectors[] = {{none, VNET}, {bytes, p.length}};
        write_tun(vectors, 2);
        return;
    }
    memcpy(joined.head + VNET, bytes, header);
    joined.vectors[0] = (struct iovec){joined.head, VNET + header};
    joined.vectors[1] = (struct iovec){bytes + header, part};
    joined.count = 2;
    joined.packets = 1;
    joined.family = p.family;
    joined.length = p.length;
    joined.header = header;
    joined.l4 = p.payload;
    joined.segment = part;
    joined.next = word_at(bytes + p.payload + 4) + (uint32_t)part;
    joined.is_complete = push != 0;
}
bool receive_burst(int fd, int family) {
    static struct mmsghdr messages[MESSAGES];
    static struct iovec vectors[MESSAGES];
    static struct sockaddr_storage names[MESSAGES];
    static union {
        char bytes[64];
        struct cmsghdr align;
    } controls[MESSAGES];
    for (int i = 0; i < MESSAGES; i++) {
        vectors[i] = (struct iovec){received[i], SLOT};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &names[i],
            .msg_namelen = sizeof names[i],
            .msg_iov = &vectors[i],
            .msg_iovlen = 1,
            .msg_control = controls[i].bytes,
            .msg_controllen = sizeof controls[i].bytes,
        };
    }
    int count = recvmmsg(fd, messages, MESSAGES, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) {
        size_t length = messages[i].msg_len, segment = length;
        struct msghdr *header = &messages[i].msg_hdr;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
            int size;
            if (c->cmsg_level != SOL_UDP || c->cmsg_type != UDP_GRO) continue;
            memcpy(&size, CMSG_DATA(c), sizeof size);
            if (size > 0) segment = (size_t)size;
        }
        if (segment == 0) segment = 1;
        const uint8_t *from = family == 4 ? (uint8_t *)&((struct sockaddr_in *)&names[i])->sin_addr
                                          : (uint8_t *)&((struct sockaddr_in6 *)&names[i])->sin6_addr;
        if (!is_sender(settings, family, from)) {
            counters.strangers += length ? (length + segment - 1) / segment : 1;
            continue;
        }
        for (size_t at = 0; at < length; at += segment) take(received[i] + at, length - at < segment ? length - at : segment);
    }
    flush();
    return count == MESSAGES;
}
