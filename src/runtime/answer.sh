#!/bin/sh
# The page of a pod that stands in for an HTTP server: run by busybox httpd as a CGI program (RFC 3875), it names the pod and the
# address it was asked from, so that any NAT on the way shows.
client=${REMOTE_ADDR#"["}
client=${client%"]"}
client=${client#::ffff:}
printf 'Content-Type: text/plain\r\n\r\n'
echo "pod $POD_NAMESPACE/$POD_NAME on $NODE_NAME, container $CONTAINER_NAME; you are $client"
