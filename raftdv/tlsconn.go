package raftdv

import (
	"crypto/tls"
	"errors"
	"net"
	"reflect"
)

const exporterLabel = "EXPORTER-raftdv-bootstrap-v1"

// errNoExporter: a connection of a TLS listener whose TLS session cannot be
// reached. Nothing may then go over a side fabric.
var errNoExporter = errors.New("the TLS session under this connection cannot be reached")

// maxWrappers bounds how deep a connection is looked into.
const maxWrappers = 8

// under returns the first connection, c or under c, that is wanted.
func under(c net.Conn, wanted func(net.Conn) bool) net.Conn {
	for range maxWrappers {
		if wanted(c) {
			return c
		}
		inner, ok := unwrap(c)
		if !ok {
			return nil
		}
		c = inner
	}
	return nil
}

// tlsState finds the TLS session under a hijacked connection: etcd serves
// peers through a connection multiplexer, so net/http does not see it.
func tlsState(c net.Conn) (*tls.ConnectionState, bool) {
	t, ok := under(c, func(c net.Conn) bool { _, ok := c.(*tls.Conn); return ok }).(*tls.Conn)
	if !ok {
		return nil, false
	}
	s := t.ConnectionState()
	return &s, true
}

// socketUnder finds the socket; nil if it is not to be seen.
func socketUnder(c net.Conn) net.Conn {
	return under(c, func(c net.Conn) bool {
		switch c.(type) {
		case *net.TCPConn, *net.UnixConn:
			return true
		}
		return false
	})
}

// unwrap returns the connection that c embeds as an exported field Conn, as
// cmux.MuxConn and etcd's timeout connections do.
func unwrap(c net.Conn) (net.Conn, bool) {
	if n, ok := c.(interface{ NetConn() net.Conn }); ok {
		return n.NetConn(), true
	}
	v := reflect.Indirect(reflect.ValueOf(c))
	if v.Kind() != reflect.Struct {
		return nil, false
	}
	f := v.FieldByName("Conn")
	if !f.IsValid() || !f.CanInterface() {
		return nil, false
	}
	inner, ok := f.Interface().(net.Conn)
	return inner, ok && inner != nil
}

// exporter returns the keying material of a TLS session.
func exporter(s *tls.ConnectionState) ([]byte, error) {
	if s == nil {
		return nil, errNoExporter
	}
	return s.ExportKeyingMaterial(exporterLabel, nil, keyLen)
}
