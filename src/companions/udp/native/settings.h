// What the forwarder is to do, and the table of routes that follows from it.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

typedef struct {
    uint8_t family;  // 4, 6; 0: none
    uint8_t bytes[16];
} ip_t;

typedef struct {
    ip_t subnet;
    uint8_t length;
    ip_t node;
    struct sockaddr_storage name;
    socklen_t name_size;
} route_t;

typedef struct {
    char device[16];  // IFNAMSIZ
    int port;
    ip_t local[2], router[2];  // by family: IPv4, IPv6
    route_t *routes;
    size_t route_count;
    ip_t *senders;
    size_t sender_count;
    uint32_t *route_slots, *sender_slots;  // open addressing: index + 1
    size_t route_mask, sender_mask;
    bool lengths[2][129];
} settings_t;

static inline int place(int family) { return family == 6; }
static inline int size_of(int family) { return family == 4 ? 4 : 16; }

bool parse_ip(const char *text, ip_t *ip);
socklen_t socket_name(const ip_t *ip, int port, struct sockaddr_storage *name);

// Reads FOLDER/settings; ends the process if they are not whole.
settings_t *read_settings(const char *folder);
void free_settings(settings_t *s);

// The route of the longest prefix; NULL for none.
const route_t *find_route(const settings_t *s, int family, const uint8_t *address);
bool is_sender(const settings_t *s, int family, const uint8_t *address);
