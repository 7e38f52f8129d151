#pragma once
#include "forwarder.h"
#include "packet.h"

// Cuts a packet as a network card would, into datagrams of the train to a route's node; false if the kernel's description does not fit it.
bool cut(packet_t *p, const vnet_header_t *vnet, int fd, const route_t *route);
