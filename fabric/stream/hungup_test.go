package stream

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
)

// A process that dies while it writes a record of TLS has hung up, as one that
// dies between two records.
func TestDeathWithinRecord(t *testing.T) {
	for name, last := range map[string][]byte{"between": nil, "within": {0x17, 3, 3, 0, 64, 1, 2, 3}} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{}
			p := newTestPort(t, Config{}, r)
			near, far := net.Pipe()
			n := network{tls: true}
			client := n.client(near)
			shaken := make(chan error, 1)
			go func() { shaken <- n.server(far).(*tls.Conn).Handshake() }()
			if err := client.(*tls.Conn).Handshake(); err != nil {
				t.Fatal(err)
			}
			if err := <-shaken; err != nil {
				t.Fatal(err)
			}
			done, err := p.AttachReceive(mate, n.session(1, client), client, nil)
			if err != nil {
				t.Fatal(err)
			}
			if last != nil {
				if _, err := far.Write(last); err != nil {
					t.Fatal(err)
				}
			}
			far.Close() // what the kernel does
			<-done
			if why := r.told().ended; len(why) != 1 || !errors.Is(why[0], ErrHungUp) {
				t.Errorf("ended by %v", why)
			}
		})
	}
}
