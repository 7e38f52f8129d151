package main

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"time"
)

// What agnhost says, and upstream's cases look for.
var (
	errTimeout = errors.New("TIMEOUT")
	errRefused = errors.New("REFUSED")
)

// After this time without an answer, a chunk is sent again.
const patience = time.Second

// Makes an association, and ends it.
func dial(where string, timeout time.Duration) error {
	host, port, err := net.SplitHostPort(where)
	if err != nil {
		return errors.New("UNKNOWN: " + err.Error())
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return errors.New("UNKNOWN: " + err.Error())
	}
	conn, err := net.Dial("ip:132", host)
	if err != nil {
		return errors.New("OTHER: " + err.Error())
	}
	c := client{
		IPConn:   conn.(*net.IPConn),
		from:     uint16(32768 + rand.IntN(28232)),
		to:       uint16(number),
		tag:      1 + rand.Uint32N(1<<31),
		deadline: time.Now().Add(timeout),
	}
	value, err := c.ask(0, initiation, initial(c.tag, nil), initiationAck)
	if err != nil {
		return err
	}
	theirs, cookie, err := readInitial(value)
	if err != nil {
		return errors.New("OTHER: " + err.Error())
	}
	if _, err := c.ask(theirs, cookieEcho, cookie, cookieAck); err != nil {
		return err
	}
	return c.send(theirs, abort, nil)
}

type client struct {
	*net.IPConn
	from, to uint16
	tag      uint32
	deadline time.Time
}

func (c client) send(tag uint32, chunk byte, value []byte) error {
	_, err := c.Write(packet{c.from, c.to, tag, chunk, value}.bytes())
	return err
}

// Sends a chunk until it is answered, and returns the answer's value.
func (c client) ask(tag uint32, chunk byte, value []byte, answer byte) ([]byte, error) {
	for time.Now().Before(c.deadline) {
		if err := c.send(tag, chunk, value); err != nil {
			return nil, errors.New("OTHER: " + err.Error())
		}
		again := time.Now().Add(patience)
		if again.After(c.deadline) {
			again = c.deadline
		}
		c.SetReadDeadline(again)
		p, err := c.receive(answer)
		if err == nil && p.chunk == abort {
			return nil, errRefused
		}
		if err == nil {
			return p.value, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, errors.New("OTHER: " + err.Error())
		}
	}
	return nil, errTimeout
}

// The next packet of this association with the chunk that is waited for, or an ABORT.
func (c client) receive(chunk byte) (packet, error) {
	buffer := make([]byte, 2048)
	for {
		n, _, err := c.ReadFromIP(buffer)
		if err != nil {
			return packet{}, err
		}
		p, err := parse(buffer[:n])
		if err == nil && p.from == c.to && p.to == c.from && p.tag == c.tag && (p.chunk == chunk || p.chunk == abort) {
			return p, nil
		}
	}
}

// Answers at ports, in both families, for ever. What it must know of an association, its cookie says.
func serve(ports []string) error {
	var numbers []uint16
	for _, port := range ports {
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return err
		}
		numbers = append(numbers, uint16(number))
	}
	failed := make(chan error)
	for _, network := range []string{"ip4:132", "ip6:132"} {
		conn, err := net.ListenIP(network, nil)
		if err != nil {
			return err
		}
		go func() { failed <- answerAll(conn, numbers) }()
	}
	return <-failed
}

func answerAll(conn *net.IPConn, ports []uint16) error {
	buffer := make([]byte, 2048)
	for {
		n, client, err := conn.ReadFromIP(buffer)
		if err != nil {
			return err
		}
		p, err := parse(buffer[:n])
		if err != nil || !slices.Contains(ports, p.to) {
			continue
		}
		if reply, isOne := answer(p); isOne {
			// A client that has gone will not miss it.
			conn.WriteToIP(reply.bytes(), client)
		}
	}
}

func answer(p packet) (packet, bool) {
	switch p.chunk {
	case initiation:
		theirs, _, err := readInitial(p.value)
		if err != nil {
			return packet{}, false
		}
		own := 1 + rand.Uint32N(1<<31)
		cookie := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, theirs), own)
		return packet{p.to, p.from, theirs, initiationAck, initial(own, cookie)}, true
	case cookieEcho:
		if len(p.value) != 8 || binary.BigEndian.Uint32(p.value[4:]) != p.tag {
			return packet{}, false
		}
		return packet{p.to, p.from, binary.BigEndian.Uint32(p.value), cookieAck, nil}, true
	}
	return packet{}, false
}
