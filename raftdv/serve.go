package raftdv

import (
	"bufio"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-semver/semver"
	"go.uber.org/zap"

	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
)

// BootstrapPath is where members meet, under the raft prefix of the peer URL.
// A member without this transport answers 404 there.
const BootstrapPath = "/raft/dv"

const (
	// upgradeTimeout bounds reading the rest of an upgrade request and writing
	// the answer.
	upgradeTimeout = 5 * time.Second

	// upgradeBody is the body of the request. A server reads ahead on a
	// connection whose request it has whole, and taking the connection over then
	// waits for that read to be interrupted. On connections that set a deadline
	// with each read, as etcd's do, the interruption can be lost, and the
	// upgrade takes as long as the deadline: 5 s. While there is a body that
	// nobody has read, nothing is read ahead.
	upgradeBody = "raftdv\n"
)

// refusal is an answer of the bootstrap other than 101.
type refusal struct {
	status int
	err    error
}

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status, fmt.Errorf(format, args...)}
}

// serveBootstrap answers a peer that dials: who dials wants to receive.
func (t *Transport) serveBootstrap(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Etcd-Cluster-ID", t.ClusterID.String())
	w.Header().Set("X-Server-Version", version.Version)
	w.Header().Set(versionHeader, fmt.Sprintf("%d-%d", wireMin, wireMax))
	p, theirs, bad := t.admit(r)
	switch {
	case bad != nil:
	case r.Header.Get(proveHeader) != "":
		bad = t.acceptProof(w, p, theirs)
	case r.Header.Get(viaHeader) != "":
		bad = t.relays.serveVia(w, r, p, theirs)
	default:
		bad = t.upgrade(w, r, p, theirs)
	}
	if bad == nil {
		return
	}
	t.lg.Warn("refused a peer's control stream", zap.String("local-member-id", t.ID.String()),
		zap.String("remote-peer-id", r.Header.Get("X-Server-From")), zap.String("remote-addr", r.RemoteAddr), zap.Error(bad.err))
	http.Error(w, bad.err.Error(), bad.status)
}

// admit checks a request as rafthttp checks the ones that open its streams,
// then the hello.
func (t *Transport) admit(r *http.Request) (*peer, *hello, *refusal) {
	if r.Method != http.MethodGet {
		return nil, nil, refuse(http.StatusMethodNotAllowed, "Method Not Allowed")
	}
	if err := compatible(r.Header); err != nil {
		return nil, nil, &refusal{http.StatusPreconditionFailed, err}
	}
	if r.Header.Get("X-Etcd-Cluster-ID") != t.ClusterID.String() {
		return nil, nil, &refusal{http.StatusPreconditionFailed, rafthttp.ErrClusterIDMismatch}
	}
	from, err := types.IDFromString(r.Header.Get("X-Server-From"))
	if err != nil {
		return nil, nil, refuse(http.StatusNotFound, "invalid from")
	}
	if t.Raft.IsIDRemoved(uint64(from)) {
		return nil, nil, refuse(http.StatusGone, "removed member")
	}
	p := t.peer(from)
	if p == nil {
		if urls := r.Header.Get("X-PeerURLs"); urls != "" {
			t.inner.AddRemote(from, strings.Split(urls, ","))
		}
		return nil, nil, refuse(http.StatusNotFound, "error sender not found")
	}
	if r.Header.Get("X-Raft-To") != t.ID.String() {
		return nil, nil, refuse(http.StatusPreconditionFailed, "to field mismatch")
	}
	theirs, err := parseHello(r.Header.Get(helloHeader), uint64(t.ClusterID), uint64(from), uint64(t.ID))
	if err != nil {
		return nil, nil, &refusal{http.StatusPreconditionFailed, err}
	}
	return p, theirs, nil
}

// compatible compares etcd's versions, as rafthttp does.
func compatible(h http.Header) error {
	server, err := headerVersion(h, "X-Server-Version")
	if err != nil {
		return err
	}
	minCluster, err := headerVersion(h, "X-Min-Cluster-Version")
	if err != nil {
		return err
	}
	if minorLess(server, semver.New(version.MinClusterVersion)) || minorLess(semver.New(version.Version), minCluster) {
		return errors.New("incompatible version")
	}
	return nil
}

func headerVersion(h http.Header, name string) (*semver.Version, error) {
	v, err := semver.NewVersion(h.Get(name))
	if err != nil {
		return nil, fmt.Errorf("header %s: %w", name, err)
	}
	return v, nil
}

func minorLess(a, b *semver.Version) bool {
	return a.Major < b.Major || a.Major == b.Major && a.Minor < b.Minor
}

// upgrade takes the connection over and hands it to the stream fabric, whose
// frames then flow towards the peer.
func (t *Transport) upgrade(w http.ResponseWriter, r *http.Request, p *peer, theirs *hello) *refusal {
	proven, err := t.checkProof(p, theirs)
	if err != nil {
		return &refusal{http.StatusForbidden, err}
	}
	if !proven && p.provenStreamAlive() {
		return refuse(http.StatusConflict, "member %s is connected already and this dial does not prove that it comes from it: dial again after it was dialled", p.id)
	}
	relay := r.Header.Get(relayedHeader)
	if relay != "" && t.cfg.NoRelays {
		return refuse(http.StatusNotImplemented, "member %s takes no connections by way of others: it was told so", t.ID)
	}
	hj, ok := w.(http.Hijacker)
	if !ok {
		return refuse(http.StatusInternalServerError, "the server cannot hand over its connections: serve peers over HTTP/1.1")
	}
	priv, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return refuse(http.StatusInternalServerError, "session key: %w", err)
	}
	conn, rw, err := hj.Hijack()
	if err != nil {
		return refuse(http.StatusInternalServerError, "hijack: %w", err)
	}
	ours := t.hello(p)
	ours.Key = priv.PublicKey().Bytes()
	if err := errors.Join(dropBody(conn, rw.Reader, r.ContentLength), t.answerUpgrade(conn, rw, ours)); err != nil {
		conn.Close()
		t.lg.Debug("bootstrap: answer to the peer failed", zap.String("remote-peer-id", p.id.String()), zap.Error(err))
		return nil
	}
	s := controlStream{theirs: theirs, proven: proven, tls: usesTLS(t.URLs)}
	s.tlsState, s.sealed = tlsState(conn)
	s.secret, s.noSide = s.deriveSecret(priv, r.Header.Get(helloHeader), ours.encode())
	if relay != "" {
		p.attachRelayed(conn, buffered(rw.Reader), s)
	} else {
		p.attachOutgoing(conn, buffered(rw.Reader), s)
	}
	return nil
}

// dropBody reads the request's body off a connection that was taken over.
func dropBody(conn net.Conn, r *bufio.Reader, length int64) error {
	if length < 0 || length > int64(len(upgradeBody)) {
		return fmt.Errorf("upgrade request with a body of %d bytes", length)
	}
	if err := conn.SetReadDeadline(time.Now().Add(upgradeTimeout)); err != nil {
		return err
	}
	if _, err := r.Discard(int(length)); err != nil {
		return err
	}
	return conn.SetReadDeadline(time.Time{})
}

// answerUpgrade says that the connection is taken over; ours is nil for a tunnel.
func (t *Transport) answerUpgrade(conn net.Conn, rw *bufio.ReadWriter, ours *hello) error {
	if err := conn.SetWriteDeadline(time.Now().Add(upgradeTimeout)); err != nil {
		return err
	}
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: Upgrade\r\n", upgradeToken)
	fmt.Fprintf(rw, "X-Etcd-Cluster-ID: %s\r\nX-Server-Version: %s\r\n", t.ClusterID, version.Version)
	fmt.Fprintf(rw, "%s: %d-%d\r\n", versionHeader, wireMin, wireMax)
	if ours != nil {
		fmt.Fprintf(rw, "%s: %s\r\n", helloHeader, ours.encode())
	}
	fmt.Fprint(rw, "\r\n")
	if err := rw.Flush(); err != nil {
		return err
	}
	return conn.SetWriteDeadline(time.Time{})
}

// buffered returns what the server had read beyond the request.
func buffered(r *bufio.Reader) []byte {
	b, _ := r.Peek(r.Buffered())
	return append([]byte(nil), b...)
}

// checkProof reports whether the dialler holds the token that this member gave
// out when it dialled that peer's URL. A wrong proof is an error, a missing
// one is not: the peer may not have been dialled yet.
func (t *Transport) checkProof(p *peer, theirs *hello) (bool, error) {
	if len(theirs.Proof) == 0 || theirs.ProofFor != t.incarnation {
		return false, nil
	}
	want := proof(p.token, theirs.From, theirs.To, theirs.Incarnation, theirs.ProofFor, theirs.Key)
	if !hmac.Equal(want, theirs.Proof) {
		return false, fmt.Errorf("%w: proof of member %s is wrong", ErrIdentity, p.id)
	}
	return true, nil
}

// hello is what this member says to p, but for the key and the proof.
func (t *Transport) hello(p *peer) *hello {
	return &hello{
		Cluster: uint64(t.ClusterID), From: uint64(t.ID), To: uint64(p.id),
		Incarnation: t.incarnation, Instance: t.instance, WireMin: wireMin, WireMax: wireMax,
		Features: ownFeatures, Fabrics: t.offers(),
	}
}

func usesTLS(urls types.URLs) bool {
	for _, u := range urls {
		if u.Scheme == "https" || u.Scheme == "unixs" {
			return true
		}
	}
	return false
}
