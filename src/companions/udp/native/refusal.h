#pragma once
#include "packet.h"

// Tells a packet's sender, as a router does, by an ICMP message of either family's type; not more than 100 times a second.
void refuse(const packet_t *p, int type4, int type6);
