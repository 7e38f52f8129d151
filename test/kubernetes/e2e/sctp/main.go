// Upstream's agnhost on kernels without SCTP: here the handshake is made in user space, on raw sockets, by
// `agnhost connect --protocol=sctp` and by `agnhost porter` for SERVE_SCTP_PORT_…; all else is upstream's.
// Between the two, packets meet the same connection tracking and the same rules as any others.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	upstream = "/agnhost-upstream"
	served   = "SERVE_SCTP_PORT_"
)

func main() {
	if len(os.Args) > 1 && !kernelHasIt() {
		switch os.Args[1] {
		case "connect":
			connect(os.Args[2:])
		case "porter":
			porter()
		}
	}
	fail(syscall.Exec(upstream, os.Args, os.Environ()))
}

func kernelHasIt() bool {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, syscall.IPPROTO_SCTP)
	if err != nil {
		return false
	}
	syscall.Close(fd)
	return true
}

// Returns if another protocol is asked for.
func connect(args []string) {
	flags := flag.NewFlagSet("connect", flag.ContinueOnError)
	timeout := flags.Duration("timeout", time.Minute, "")
	protocol := flags.String("protocol", "tcp", "")
	var where []string
	// They may stand on either side of the address.
	for len(args) > 0 {
		if !strings.HasPrefix(args[0], "-") {
			where, args = append(where, args[0]), args[1:]
		} else if flags.Parse(args) != nil {
			return
		} else {
			args = flags.Args()
		}
	}
	if *protocol != "sctp" || len(where) != 1 {
		return
	}
	fail(dial(where[0], *timeout))
	os.Exit(0)
}

// Returns if no port wants SCTP.
func porter() {
	var ports, rest []string
	for _, each := range os.Environ() {
		if port, isOne := strings.CutPrefix(each, served); isOne {
			port, _, _ = strings.Cut(port, "=")
			ports = append(ports, port)
		} else {
			rest = append(rest, each)
		}
	}
	if len(ports) == 0 {
		return
	}
	other := exec.Command(upstream, os.Args[1:]...)
	other.Env, other.Stdout, other.Stderr = rest, os.Stdout, os.Stderr
	other.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	fail(other.Start())
	fail(serve(ports))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
