#pragma once
#include <sys/socket.h>
#include <sys/un.h>

// Takes the device and the sockets of the forwarder that runs, which ends then: what waits in them is not lost. Without an answer
// they stay closed.
void take_over(const char *folder, int orders);
// Gives them to the one that asked.
void hand_over(int orders, const struct sockaddr_un *to, socklen_t size);
