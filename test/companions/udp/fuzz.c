// Feeds the forwarder in C packets that are nearly right, from both sides, with the sanitizers on: it must neither read nor write
// outside of its memory, nor lose count.
//   fuzz CASES SEED
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bytes.h"
#include "forwarder.h"
#include "packet.h"

settings_t *settings;
int tun = -1, sockets[2] = {-1, -1}, raw[2] = {-1, -1};
struct counters counters;

double now(void) { return 0; }
void open_tun(void) { abort(); }

// Datagrams that were sent, as the kernel would see them: all of their memory is read.
static unsigned long datagrams;

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags) {
    (void)fd;
    (void)flags;
    static uint8_t sent[2 * SLOT];
    size_t total = 0, segment = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        memcpy(sent + total, message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
        total += message->msg_iov[i].iov_len;
    }
    if (message->msg_controllen) {
        uint16_t size;
        memcpy(&size, CMSG_DATA(CMSG_FIRSTHDR(message)), sizeof size);
        segment = size;
    } else segment = total;
    if (segment == 0 || (total + segment - 1) / segment > 64) abort();
    // As the kernel does: no datagram can be longer.
    if (total > 65507) {
        errno = EMSGSIZE;
        return -1;
    }
    // Each is a packet of its own, and as long as it says.
    for (size_t at = 0; at < total; at += segment, datagrams++) {
        packet_t p;
        size_t size = total - at < segment ? total - at : segment;
        if (!read_packet(&p, sent + at, size) || (message->msg_controllen && p.length != size)) abort();
    }
    return (ssize_t)total;
}

static uint64_t state;

static uint32_t below(uint32_t limit) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % limit);
}

static void pair(int *ours, int *theirs) {
    int fds[2], size = 1 << 20;
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds) < 0) abort();
    for (int i = 0; i < 2; i++) setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    *ours = fds[0];
    *theirs = fds[1];
}

// A packet of TCP, UDP or ICMP in either family; most of its fields are right.
static size_t packet(uint8_t *to, size_t payload) {
    // Of one connection, mostly.
    static int is_ipv4;
    if (below(8) == 0) is_ipv4 = !is_ipv4;
    int protocol = below(8) ? 6 : below(2) ? 17 : 1;
    size_t l4 = is_ipv4 ? 20 + 4 * (below(8) == 0) : 40, header = l4 + (protocol == 6 ? 20 + 4 * (below(8) ? 3 : below(11)) : 8);
    size_t length = header + payload;
    if (length > LONGEST) length = LONGEST;
    memset(to, 0, header);
    for (size_t i = header; i < length; i++) to[i] = (uint8_t)i;
    if (is_ipv4) {
        to[0] = (uint8_t)(0x40 | l4 / 4);
        put_half(to + 2, (uint32_t)length);
        to[8] = (uint8_t)(below(8) ? 64 : below(3));
        to[9] = (uint8_t)protocol;
        memcpy(to + 12, "\x0a\x01\x00\x01\x0a\x02\x00\x01", 8);
    } else {
        to[0] = 0x60;
        put_half(to + 4, (uint32_t)(length - 40));
        to[6] = (uint8_t)(protocol == 1 ? 58 : protocol);
        to[7] = (uint8_t)(below(8) ? 64 : below(3));
        to[8] = to[24] = 0xfd;
        to[25] = 2;
    }
    if (protocol == 6) {
        static uint32_t sequence;
        put_word(to + l4 + 4, sequence);
        sequence += (uint32_t)payload;
        to[l4 + 12] = (uint8_t)((header - l4) / 4 << 4);
        to[l4 + 13] = (uint8_t)(ACK | (below(16) ? 0 : PSH));
        // Only packets with a right checksum are joined.
        packet_t p = {.bytes = to, .family = is_ipv4 ? 4 : 6};
        put_sum(to + l4 + 16, pseudo_header(&p, 6) + as_sum((uint32_t)(length - l4)) + sum_of(to + l4, length - l4));
    }
    return length;
}

static size_t mutated(uint8_t *bytes, size_t size) {
    for (uint32_t changes = below(4); changes > 0; changes--) bytes[below(below(2) ? 64 : (uint32_t)size) % size] = (uint8_t)below(256);
    if (below(4) == 0) size = below((uint32_t)size + 1);
    return size;
}

// Large packets are few: they take the most time.
static unsigned long taken(void) { return counters.received + counters.malformed + counters.strangers; }

// Takes a burst; returns how many packets that were.
static unsigned long receive(void) {
    unsigned long before = taken();
    receive_burst(sockets[0], 4);
    return taken() - before;
}

static uint32_t some_size(void) { return below(16) ? below(1500) : below(LONGEST); }

int main(int count, char **words) {
    if (count != 3) return 2;
    long cases = atol(words[1]);
    state = strtoull(words[2], NULL, 10);
    char folder[] = "/tmp/flatnet-fuzz-XXXXXX", path[64];
    if (!mkdtemp(folder)) return 2;
    snprintf(path, sizeof path, "%s/settings", folder);
    FILE *file = fopen(path, "w");
    fputs("device x\nport 8285\nrouter 10.1.0.0\nrouter fd01::\nroute 10.2.0.0/16 192.0.2.2\nroute fd02::/16 192.0.2.2\nsender 0.0.0.0\nend\n", file);
    fclose(file);
    settings = read_settings(folder);
    unlink(path);
    rmdir(folder);
    int device, peer;
    pair(&tun, &device);
    pair(&sockets[0], &peer);
    static uint8_t bytes[2 * SLOT], sink[2 * SLOT];
    unsigned long fed = 0, seen = 0, joined = 0;
    ssize_t got;
    for (long i = 0; i < cases; i++) {
        size_t size = 0;
        if (below(2)) {
            // From the other node, like trains of UDP_GRO: the segments of a message are told by control messages, which a pair has not.
            size = packet(bytes, below(4) ? 1000 : some_size());
            if (below(4) == 0) size = mutated(bytes, size);
            if (size == 0) continue;
            if (send(peer, bytes, size, 0) == (ssize_t)size) fed++;
            if (below(16) == 0) seen += receive();
        } else {
            size_t length = packet(bytes + VNET, some_size());
            vnet_header_t vnet = {
                .flags = NEEDS_CSUM,
                .gso_type = (uint8_t[]){GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, 0xff}[below(5)],
                .gso_size = (uint16_t)(below(4) ? 1400 : below(65536)),
                .csum_start = (uint16_t)(below(4) ? bytes[VNET] >> 4 == 4 ? 20 : 40 : below(65536)),
                .csum_offset = (uint16_t)(below(4) ? 16 : below(65536)),
            };
            memcpy(bytes, &vnet, VNET);
            size = VNET + mutated(bytes + VNET, length);
            if (send(device, bytes, size, 0) != (ssize_t)size) return 3;
            send_burst();
        }
        while ((got = recv(device, sink, sizeof sink, 0)) >= 0) joined += sink[1] != GSO_NONE;
        while (recv(peer, sink, sizeof sink, 0) >= 0) {}
    }
    for (unsigned long more = 1; more; seen += more) {
        more = receive();
        while (recv(device, sink, sizeof sink, 0) >= 0) {}
    }
    printf("%lu sent, %lu received, %lu times joined, %lu malformed, %lu unroutable, %lu expired; %lu fed\n", counters.sent, counters.received, joined, counters.malformed,
           counters.unroutable, counters.expired, fed);
    return seen == fed && datagrams == counters.sent && counters.received > 0 && joined > 0 && counters.malformed > 0 && counters.expired > 0 ? 0 : 1;
}
