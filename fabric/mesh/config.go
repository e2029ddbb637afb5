package mesh

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/stream"
)

// Config says who a member is and where the others are. Zero stands for the
// default.
type Config struct {
	// Self is this member, Incarnation rises with each start. Required.
	Self        fabric.MemberID
	Incarnation uint64
	// Cluster is the same at all members; a member of another one is refused.
	Cluster uint64
	// Listen is the address to bind, host:port. Required if Listener is nil.
	Listen string
	// Listener is used instead of Listen. The port owns it.
	Listener net.Listener
	// Peers are the addresses of the other members; see also Port.SetPeers.
	Peers map[fabric.MemberID]string

	// TLS is used for dialling and for listening: it has to hold a certificate,
	// RootCAs, ClientCAs and ClientAuth. Default: none, everything is in clear.
	TLS *tls.Config
	// Verify says whether the other end of a connection is that member. Required
	// with TLS.
	Verify func(member fabric.MemberID, end tls.ConnectionState) error

	// Stream holds the settings of the port; its Self, Incarnation and Sealed are
	// set by New.
	Stream stream.Config
	// DialTimeout bounds dialling and saying hello, each. Default 1s.
	DialTimeout time.Duration
	// RedialAfter is the pause after a connection has come to its end; it is
	// doubled with each attempt that fails, up to MaxRedialAfter. Defaults 10ms, 1s.
	RedialAfter, MaxRedialAfter time.Duration
	// MaxHellos bounds the connections that have not said hello. Default 64.
	MaxHellos int
	// Logger gets a line when a connection is refused. Default: none.
	Logger *slog.Logger
}

// ErrConfig: settings that no port can have.
var ErrConfig = errors.New("mesh: bad settings")

func (c Config) withDefaults() Config {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.DialTimeout, time.Second)
	def(&c.RedialAfter, 10*time.Millisecond)
	def(&c.MaxRedialAfter, max(time.Second, c.RedialAfter))
	if c.MaxHellos == 0 {
		c.MaxHellos = 64
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Stream.Self, c.Stream.Incarnation, c.Stream.Sealed = c.Self, c.Incarnation, c.TLS != nil
	return c
}

// Validate lists all faults of the settings, defaults filled in.
func (c Config) Validate() error {
	c = c.withDefaults()
	errs := []error{c.Stream.Validate()}
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
		}
	}
	bad(c.Listen == "" && c.Listener == nil, "neither Listen nor Listener: peers have to reach this member")
	bad(c.TLS != nil && c.Verify == nil, "TLS without Verify: any holder of a certificate could speak for any member")
	bad(c.TLS != nil && len(c.TLS.Certificates) == 0 && c.TLS.GetCertificate == nil, "TLS without a certificate: each member shows its own")
	bad(c.TLS != nil && c.TLS.ClientAuth != tls.RequireAndVerifyClientCert, "TLS.ClientAuth is %v: it has to be RequireAndVerifyClientCert", tlsAuth(c.TLS))
	bad(c.DialTimeout < 0 || c.RedialAfter < 0 || c.MaxRedialAfter < c.RedialAfter, "DialTimeout %v, RedialAfter %v, MaxRedialAfter %v: want positive times, the last not below the one before", c.DialTimeout, c.RedialAfter, c.MaxRedialAfter)
	bad(c.MaxHellos < 1, "MaxHellos is %d: want a positive number", c.MaxHellos)
	return errors.Join(errs...)
}

func tlsAuth(c *tls.Config) tls.ClientAuthType {
	if c == nil {
		return tls.NoClientCert
	}
	return c.ClientAuth
}
