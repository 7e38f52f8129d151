#!/bin/sh
# The page of the HTTP server that stands in for an image. Run by busybox httpd as a CGI program (RFC 3875), it prints the pod's name
# and the client's address, so that any NAT on the path is visible.
client=${REMOTE_ADDR#"["}
client=${client%"]"}
client=${client#::ffff:}
printf 'Content-Type: text/plain\r\n\r\n'
echo "pod $POD_NAMESPACE/$POD_NAME on $NODE_NAME, container $CONTAINER_NAME; you are $client"
