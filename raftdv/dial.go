package raftdv

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
)

// controlStream is one upgraded connection after both hellos.
type controlStream struct {
	ours     *hello // what was said when this member dialled
	theirs   *hello
	proven   bool // who dialled showed the token
	tls      bool // the peer URL asks for TLS
	sealed   bool // the connection has it
	tlsState *tls.ConnectionState
	secret   []byte
	noSide   error // why no key for side fabrics can be had
}

func (s *controlStream) deriveSecret(priv *ecdh.PrivateKey, request, answer string) ([]byte, error) {
	var keying []byte
	if s.tls || s.sealed {
		var err error
		if keying, err = exporter(s.tlsState); err != nil {
			return nil, fmt.Errorf("no keys for side fabrics: %w", err)
		}
	}
	return sessionSecret(priv, s.theirs.Key, keying, request, answer)
}

// urlPicker goes round the URLs of a peer when one does not answer.
type urlPicker struct {
	mu     sync.Mutex // guards the fields below
	urls   types.URLs
	picked int
}

func (u *urlPicker) update(urls types.URLs) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.urls, u.picked = urls, 0
}

func (u *urlPicker) pick() url.URL {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.urls[u.picked]
}

func (u *urlPicker) unreachable(bad url.URL) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.urls[u.picked] == bad {
		u.picked = (u.picked + 1) % len(u.urls)
	}
}

// dialLoop keeps a control stream to the peer's URL open: what the peer sends
// comes in on it.
func (p *peer) dialLoop() {
	limit := rate.NewLimiter(p.t.DialRetryFrequency, 1)
	for p.ctx.Err() == nil {
		done, err := p.dial()
		if err != nil {
			p.dialFailed(err)
		} else {
			select {
			case <-done:
				p.doubt.over()
			case <-p.ctx.Done():
				return
			}
		}
		if errors.Is(err, ErrNotDV) {
			p.leaves()
		}
		if errors.Is(err, ErrNotDV) || errors.Is(err, ErrWireVersion) || errors.Is(err, ErrFeature) {
			p.waitForUpgrade()
		}
		if limit.Wait(p.ctx) != nil {
			return
		}
	}
}

// waitForUpgrade pauses before a peer without this transport is asked again,
// cut short when that peer dials here.
func (p *peer) waitForUpgrade() {
	timer := time.NewTimer(p.t.cfg.StockRetry)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.redial:
	case <-p.ctx.Done():
	}
}

// dial opens one control stream and hands it to the stream fabric.
func (p *peer) dial() (done <-chan struct{}, err error) {
	u := p.urls.pick()
	ours, priv, err := p.dialHello()
	if err != nil {
		return nil, err
	}
	request := ours.encode()
	ctx, cancel := context.WithCancelCause(p.ctx)
	defer func() {
		if err != nil {
			cancel(nil)
			p.urls.unreachable(u)
		}
	}()
	p.dialBegins(cancel)
	resp, nc, err := p.roundTrip(ctx, p.t.dialer, u, request, nil)
	p.dialBegins(nil)
	if err != nil {
		return nil, err
	}
	theirs, err := p.checkAnswer(resp)
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	s := controlStream{ours: ours, theirs: theirs, tls: u.Scheme == "https" || u.Scheme == "unixs", sealed: resp.TLS != nil, tlsState: resp.TLS}
	s.proven = len(ours.Proof) > 0 && ours.ProofFor == theirs.Incarnation
	s.secret, s.noSide = s.deriveSecret(priv, request, resp.Header.Get(helloHeader))
	if p.doubt.answered(theirs.Incarnation) {
		p.t.elections.gone(p.member)
	}
	return p.attachIncoming(&upgradedConn{resp.Body.(io.ReadWriteCloser), nc, func() { cancel(nil) }}, s)
}

// hungDial is how long a dial may take that the peer, which dials here, would have
// answered long ago: a proxy or a load balancer has accepted it before the peer was
// there, and nobody has it now.
const hungDial = 500 * time.Millisecond

var errHungDial = errors.New("nobody answered, and the peer has dialled here: dialling again")

// dialBegins notes how the dial that begins now is ended; nil: it is over.
func (p *peer) dialBegins(cancel context.CancelCauseFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialCancel, p.dialBegun = cancel, time.Now()
}

// endHungDial is told that the peer has dialled here.
func (p *peer) endHungDial() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dialCancel != nil && time.Since(p.dialBegun) > hungDial {
		p.dialCancel(errHungDial)
	}
}

func (p *peer) dialHello() (*hello, *ecdh.PrivateKey, error) {
	priv, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("session key: %w", err)
	}
	ours := p.t.hello(p)
	ours.Key = priv.PublicKey().Bytes()
	ours.Token = p.token
	if token, incarnation := p.theirToken(); token != nil {
		ours.prove(token, incarnation)
	}
	return ours, priv, nil
}

// roundTrip sends a request of the bootstrap, with what it has besides the hello: it
// asks for the connection, unless it is a proof.
func (p *peer) roundTrip(ctx context.Context, by http.RoundTripper, u url.URL, request string, more http.Header) (*http.Response, net.Conn, error) {
	t := p.t
	u.Path = BootstrapPath
	var nc net.Conn
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { nc = i.Conn }})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), strings.NewReader(upgradeBody))
	if err != nil {
		return nil, nil, fmt.Errorf("peer URL %s: %w", u.Redacted(), err)
	}
	maps.Copy(req.Header, more)
	if more.Get(proveHeader) == "" {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", upgradeToken)
	}
	req.Header.Set("X-Server-From", t.ID.String())
	req.Header.Set("X-Server-Version", version.Version)
	req.Header.Set("X-Min-Cluster-Version", version.MinClusterVersion)
	req.Header.Set("X-Etcd-Cluster-ID", t.ClusterID.String())
	req.Header.Set("X-Raft-To", p.id.String())
	req.Header.Set("X-PeerURLs", strings.Join(t.URLs.StringSlice(), ","))
	req.Header.Set(helloHeader, request)
	resp, err := by.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	return resp, nc, nil
}

// checkAnswer turns every answer but a good one into an error.
func (p *peer) checkAnswer(resp *http.Response) (*hello, error) {
	theirs, err := p.readAnswer(resp)
	if err != nil {
		return nil, &answerError{err}
	}
	return theirs, nil
}

func (p *peer) readAnswer(resp *http.Response) (*hello, error) {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		if _, ok := resp.Body.(io.ReadWriteCloser); !ok {
			return nil, fmt.Errorf("peer %s: connection cannot be written to after the upgrade", p.id)
		}
		return parseHello(resp.Header.Get(helloHeader), uint64(p.t.ClusterID), uint64(p.id), uint64(p.t.ID))
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
	reason := strings.TrimSpace(string(text))
	switch {
	case resp.StatusCode == http.StatusGone:
		p.t.reportRemoved()
		return nil, ErrMemberRemoved
	case resp.Header.Get(versionHeader) == "" && resp.StatusCode == http.StatusNotFound:
		return nil, ErrNotDV
	case resp.StatusCode == http.StatusConflict:
		return nil, fmt.Errorf("%w: %s", errConnected, reason)
	case resp.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("peer %s failed to find local node %s", p.id, p.t.ID)
	case reason == rafthttp.ErrClusterIDMismatch.Error():
		return nil, rafthttp.ErrClusterIDMismatch
	case strings.HasPrefix(reason, ErrWireVersion.Error()):
		return nil, fmt.Errorf("%w: peer %s speaks %s", ErrWireVersion, p.id, resp.Header.Get(versionHeader))
	case strings.HasPrefix(reason, ErrFeature.Error()):
		return nil, fmt.Errorf("%w: %s", ErrFeature, reason)
	}
	return nil, fmt.Errorf("peer %s answered %s: %s", p.id, resp.Status, reason)
}

func (t *Transport) reportRemoved() {
	select {
	case t.ErrorC <- ErrMemberRemoved:
	default: // it was reported before
	}
}

func (p *peer) dialFailed(err error) {
	if p.ctx.Err() != nil {
		return
	}
	if p.doubt.failed(err) {
		p.t.elections.gone(p.member)
	}
	if !p.relayAlive() {
		p.deactivate(err)
	}
	if changed := p.noteDialError(err); changed {
		p.t.lg.Info("no control stream to peer", zap.String("local-member-id", p.t.ID.String()),
			zap.String("remote-peer-id", p.id.String()), zap.Error(err))
	}
}

// upgradedConn is the connection under an answered upgrade: reads go through
// the HTTP client, which may have read ahead, the rest to the connection.
type upgradedConn struct {
	io.ReadWriteCloser
	nc     net.Conn
	cancel context.CancelFunc
}

func (c *upgradedConn) Close() error {
	err := c.ReadWriteCloser.Close()
	c.cancel()
	return err
}

func (c *upgradedConn) NetConn() net.Conn                  { return c.nc }
func (c *upgradedConn) LocalAddr() net.Addr                { return c.nc.LocalAddr() }
func (c *upgradedConn) RemoteAddr() net.Addr               { return c.nc.RemoteAddr() }
func (c *upgradedConn) SetDeadline(t time.Time) error      { return c.nc.SetDeadline(t) }
func (c *upgradedConn) SetReadDeadline(t time.Time) error  { return c.nc.SetReadDeadline(t) }
func (c *upgradedConn) SetWriteDeadline(t time.Time) error { return c.nc.SetWriteDeadline(t) }
