package raftdv

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/raftdv/dv/fabric"
)

func goodHello(t *testing.T) *hello {
	t.Helper()
	priv, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &hello{
		Cluster: 7, From: 1, To: 2, Incarnation: 5, Instance: randomBytes(16),
		WireMin: wireMin, WireMax: wireMax, Features: ownFeatures, Key: priv.PublicKey().Bytes(),
	}
}

func TestHelloRoundTrip(t *testing.T) {
	h := goodHello(t)
	h.Fabrics = map[string]offer{"udp": {Addr: ":2380"}}
	got, err := parseHello(h.encode(), 7, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if got.encode() != h.encode() {
		t.Errorf("got %+v, want %+v", got, h)
	}
}

func TestHelloRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*hello)
		want   error
	}{
		{"another cluster", func(h *hello) { h.Cluster++ }, ErrIdentity},
		{"another sender", func(h *hello) { h.From++ }, ErrIdentity},
		{"another addressee", func(h *hello) { h.To++ }, ErrIdentity},
		{"newer wire", func(h *hello) { h.WireMin, h.WireMax = wireMax+1, wireMax+2 }, ErrWireVersion},
		{"older wire", func(h *hello) { h.WireMin, h.WireMax = wireMin-2, wireMin-1 }, ErrWireVersion},
		{"required feature", func(h *hello) { h.Require = 1 << 40 }, ErrFeature},
		{"no key", func(h *hello) { h.Key = nil }, ErrIdentity},
		{"no incarnation", func(h *hello) { h.Incarnation = 0 }, ErrIdentity},
		{"short instance", func(h *hello) { h.Instance = h.Instance[:8] }, ErrIdentity},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := goodHello(t)
			c.change(h)
			if _, err := parseHello(h.encode(), 7, 1, 2); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	for name, text := range map[string]string{"base64": "%", "json": base64.StdEncoding.EncodeToString([]byte("{")), "size": strings.Repeat("A", maxHello+4)} {
		if _, err := parseHello(text, 7, 1, 2); err == nil {
			t.Errorf("bad %s accepted", name)
		}
	}
	if _, err := parseHello("", 7, 1, 2); !errors.Is(err, ErrNotDV) {
		t.Errorf("no hello: got %v, want %v", err, ErrNotDV)
	}
}

// A member of the next version says more and offers a wider range; what is not
// required is skipped, and both settle on the version in common.
func TestHelloOfNextVersion(t *testing.T) {
	b, err := json.Marshal(goodHello(t))
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	fields["wire_max"], fields["features"], fields["colour"] = wireMax+1, uint64(1<<40)|uint64(ownFeatures), "blue"
	if b, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	h, err := parseHello(base64.StdEncoding.EncodeToString(b), 7, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if got := h.wireVersion(); got != wireMax {
		t.Errorf("wire version %d, want %d", got, wireMax)
	}
}

func TestProofNamesEverything(t *testing.T) {
	token, key := randomBytes(tokenLen), randomBytes(keyLen)
	base := proof(token, 1, 2, 3, 4, key)
	for name, other := range map[string][]byte{
		"token":            proof(randomBytes(tokenLen), 1, 2, 3, 4, key),
		"from":             proof(token, 9, 2, 3, 4, key),
		"to":               proof(token, 1, 9, 3, 4, key),
		"from incarnation": proof(token, 1, 2, 9, 4, key),
		"to incarnation":   proof(token, 1, 2, 3, 9, key),
		"key":              proof(token, 1, 2, 3, 4, randomBytes(keyLen)),
	} {
		if bytes.Equal(base, other) {
			t.Errorf("proof does not depend on the %s", name)
		}
	}
}

func TestSessionsAgree(t *testing.T) {
	a, _ := ecdh.X25519().GenerateKey(rand.Reader)
	b, _ := ecdh.X25519().GenerateKey(rand.Reader)
	exporter, token := randomBytes(keyLen), randomBytes(tokenLen)
	derive := func(own *ecdh.PrivateKey, peer *ecdh.PublicKey, exporter, token []byte, self, other fabric.MemberID) sideKeys {
		t.Helper()
		secret, err := sessionSecret(own, peer.Bytes(), exporter, "request", "answer")
		if err != nil {
			t.Fatal(err)
		}
		k, err := deriveSideKeys(secret, token, "udp", self, other)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	ka := derive(a, b.PublicKey(), exporter, token, 1, 2)
	kb := derive(b, a.PublicKey(), exporter, token, 2, 1)
	if !bytes.Equal(ka.send, kb.recv) || !bytes.Equal(ka.recv, kb.send) || ka.sendIndex != kb.recvIndex || ka.recvIndex != kb.sendIndex {
		t.Error("the two ends derive different keys")
	}
	if bytes.Equal(ka.send, ka.recv) {
		t.Error("both directions share a key")
	}
	// Who lacks the token, or sits in the middle of the TLS session, has other keys.
	if k := derive(a, b.PublicKey(), exporter, randomBytes(tokenLen), 1, 2); bytes.Equal(k.send, ka.send) {
		t.Error("the keys do not depend on the token")
	}
	if k := derive(a, b.PublicKey(), randomBytes(keyLen), token, 1, 2); bytes.Equal(k.send, ka.send) {
		t.Error("the keys do not depend on the exporter")
	}
	if _, err := sessionSecret(a, make([]byte, keyLen), nil, "", ""); err == nil {
		t.Error("the all-zero key of a peer was accepted")
	}
}
