//go:build !linux

package udp

import (
	"net"
	"net/netip"
)

// plainSocket works everywhere, one datagram a call. Its sends may block, so
// that the pump does them all.
type plainSocket struct {
	conn *net.UDPConn
	info conduitInfo
}

func openSocket(cfg *Config) (conduit, error) {
	conn, err := bind(cfg)
	if err != nil {
		return nil, err
	}
	_ = conn.SetReadBuffer(cfg.SocketBuffer)
	_ = conn.SetWriteBuffer(cfg.SocketBuffer)
	return &plainSocket{conn, conduitInfo{receiveBuffer: cfg.SocketBuffer}}, nil
}

func (s *plainSocket) about() conduitInfo    { return s.info }
func (s *plainSocket) newSender() sender     { return s }
func (s *plainSocket) newReceiver() receiver { return s }
func (s *plainSocket) close() error          { return s.conn.Close() }

func (s *plainSocket) localAddr() netip.AddrPort {
	return unmap(s.conn.LocalAddr().(*net.UDPAddr).AddrPort())
}

func (s *plainSocket) topDatagram(to netip.AddrPort) int { return datagramFor(usualMTU, to.Addr()) }

func (s *plainSocket) send(b []byte, seg int, to netip.AddrPort, _ bool) (sent int, err error) {
	for sent < len(b) {
		n := min(seg, len(b)-sent)
		if _, err := s.conn.WriteToUDPAddrPort(b[sent:sent+n], to); err != nil {
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

func (s *plainSocket) recv(b []byte, wait bool) (n, seg int, from netip.AddrPort, err error) {
	if !wait {
		return 0, 0, from, errAgain
	}
	n, from, err = s.conn.ReadFromUDPAddrPort(b)
	return n, n, unmap(from), err
}
