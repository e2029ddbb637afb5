package raftdv

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/raftdv/dv/fabric"
)

// The bootstrap is one HTTP upgrade: GET /raft/dv with a hello in a header,
// answered by 101 and a hello. Hellos are JSON: fields that a member does not
// know are skipped, what must not be skipped is a bit of Require.
const (
	helloHeader   = "X-Dv-Hello"
	versionHeader = "X-Dv-Wire"
	upgradeToken  = "raftdv"
	maxHello      = 16 << 10

	// wireMin and wireMax are the versions of the wire protocol spoken here.
	wireMin = 1
	wireMax = 1

	keyLen   = 32
	tokenLen = 32
)

// Feature is a bit of the feature set that members tell each other. Bits are
// never reused.
type Feature uint64

const (
	// FeatureRowAcks: acks of raft may arrive as rows.
	FeatureRowAcks Feature = 1 << iota
	// FeatureSnapshots: snapshots may arrive in chunks on the bulk lane.
	FeatureSnapshots
	// FeatureElections: the row says what the member knows of elections.
	FeatureElections
	// FeatureRelays: the member connects others that have lost each other, and is
	// connected so.
	FeatureRelays

	ownFeatures = FeatureRowAcks | FeatureSnapshots | FeatureElections | FeatureRelays
	// knownFeatures are the bits that this member understands in Require.
	knownFeatures = ownFeatures
)

// hello says who a member is and what it offers. From the dialler's request
// header and the answer's header, both sides derive the same session.
type hello struct {
	Cluster     uint64  `json:"cluster"`
	From        uint64  `json:"from"`
	To          uint64  `json:"to"`
	Incarnation uint64  `json:"incarnation"`
	Instance    []byte  `json:"instance"` // 128 random bits of this start
	WireMin     int     `json:"wire_min"`
	WireMax     int     `json:"wire_max"`
	Features    Feature `json:"features"`
	Require     Feature `json:"require,omitempty"`
	// Key is an ephemeral X25519 public key.
	Key []byte `json:"key"`
	// Token is the dialler's secret for the member that it dials: whoever has
	// it was reached under that member's peer URL.
	Token []byte `json:"token,omitempty"`
	// Proof shows that the dialler holds the token which the dialled member
	// gave out as ProofFor (an incarnation).
	Proof    []byte `json:"proof,omitempty"`
	ProofFor uint64 `json:"proof_for,omitempty"`
	// Fabrics offered besides the stream, by name.
	Fabrics map[string]offer `json:"fabrics,omitempty"`
}

func (h *hello) encode() string {
	b, err := json.Marshal(h)
	if err != nil {
		panic("raftdv: hello cannot be encoded: " + err.Error()) // plain fields only
	}
	return base64.StdEncoding.EncodeToString(b)
}

// Errors of the bootstrap.
var (
	// ErrNotDV: the peer answered like a member without this transport.
	ErrNotDV = errors.New("peer speaks rafthttp only")
	// ErrWireVersion: no common wire version.
	ErrWireVersion = errors.New("no wire version in common")
	// ErrFeature: the peer requires a feature that is not known here.
	ErrFeature = errors.New("peer requires an unknown feature")
	// ErrIdentity: somebody else answers or dials than the membership says.
	ErrIdentity = errors.New("identity does not match the membership")
)

// parseHello checks what does not depend on who is asked; peer and self are
// who the hello must be from and to.
func parseHello(text string, cluster, peer, self uint64) (*hello, error) {
	if text == "" {
		return nil, fmt.Errorf("%w: no %s header", ErrNotDV, helloHeader)
	}
	if len(text) > maxHello {
		return nil, fmt.Errorf("%w: hello of %d bytes, at most %d", ErrIdentity, len(text), maxHello)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("hello of member %x: %w", peer, err)
	}
	h := new(hello)
	if err := json.Unmarshal(b, h); err != nil {
		return nil, fmt.Errorf("hello of member %x: %w", peer, err)
	}
	switch {
	case h.Cluster != cluster || h.From != peer || h.To != self:
		return nil, fmt.Errorf("%w: hello from %x to %x in cluster %x, want from %x to %x in cluster %x",
			ErrIdentity, h.From, h.To, h.Cluster, peer, self, cluster)
	case h.WireMax < wireMin || h.WireMin > wireMax:
		return nil, fmt.Errorf("%w: member %x speaks %d to %d, this one %d to %d: upgrade the older one",
			ErrWireVersion, peer, h.WireMin, h.WireMax, wireMin, wireMax)
	case h.Require&^knownFeatures != 0:
		return nil, fmt.Errorf("%w: member %x requires bits %#x: upgrade this member", ErrFeature, peer, uint64(h.Require&^knownFeatures))
	case h.Incarnation == 0 || len(h.Key) != keyLen || len(h.Instance) != 16:
		return nil, fmt.Errorf("%w: hello of member %x is incomplete", ErrIdentity, peer)
	}
	return h, nil
}

// wireVersion is the version that both ends use.
func (h *hello) wireVersion() int { return min(h.WireMax, wireMax) }

// proof is what the holder of token shows when it dials.
func proof(token []byte, from, to, fromIncarnation, toIncarnation uint64, key []byte) []byte {
	mac := hmac.New(sha256.New, token)
	mac.Write([]byte("raftdv dial proof v1"))
	for _, v := range []uint64{from, to, fromIncarnation, toIncarnation} {
		mac.Write(binary.LittleEndian.AppendUint64(nil, v))
	}
	mac.Write(key)
	return mac.Sum(nil)
}

// sessionSecret is what the two ends of one control stream share: an X25519
// agreement and, under TLS, the exporter of that very connection, which ties
// the secret to the certificates that it was checked with.
func sessionSecret(own *ecdh.PrivateKey, peerKey, exporter []byte, request, answer string) ([]byte, error) {
	pub, err := ecdh.X25519().NewPublicKey(peerKey)
	if err != nil {
		return nil, fmt.Errorf("peer's session key: %w", err)
	}
	shared, err := own.ECDH(pub)
	if err != nil {
		return nil, fmt.Errorf("peer's session key: %w", err)
	}
	transcript := sha256.Sum256([]byte(request + "\n" + answer))
	return hkdf.Extract(sha256.New, append(shared, exporter...), transcript[:])
}

// sideKeys are the keys of a side fabric between two members.
type sideKeys struct {
	send, recv           []byte
	sendIndex, recvIndex uint64
}

// deriveSideKeys makes the keys of a side fabric from the secret of the stream
// that the member with the lower id dialled and the token that the other one
// gave it: only who owns the higher member's certificate knows the first, only
// who was reached under the lower member's peer URL knows the second.
func deriveSideKeys(secret, token []byte, name string, self, peer fabric.MemberID) (sideKeys, error) {
	prk, err := hkdf.Extract(sha256.New, secret, token)
	if err != nil {
		return sideKeys{}, err
	}
	var k sideKeys
	for _, d := range []struct {
		from, to fabric.MemberID
		key      *[]byte
		index    *uint64
	}{{self, peer, &k.send, &k.sendIndex}, {peer, self, &k.recv, &k.recvIndex}} {
		info := fmt.Sprintf("raftdv v1 %s from %x to %x", name, uint64(d.from), uint64(d.to))
		out, err := hkdf.Expand(sha256.New, prk, info, keyLen+8)
		if err != nil {
			return sideKeys{}, err
		}
		*d.key, *d.index = out[:keyLen:keyLen], binary.LittleEndian.Uint64(out[keyLen:])
	}
	return k, nil
}

// prove adds the proof for the member whose token this is.
func (h *hello) prove(token []byte, incarnation uint64) {
	h.ProofFor = incarnation
	h.Proof = proof(token, h.From, h.To, h.Incarnation, incarnation, h.Key)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails (crypto/rand)
	return b
}
