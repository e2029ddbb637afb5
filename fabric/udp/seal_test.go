package udp

import (
	"bytes"
	"testing"
)

func testKey(tb testing.TB, sealed bool) *sealKey {
	tb.Helper()
	k, err := firstKey([]byte("a secret of some length"), 7, sealed)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// sealed makes a datagram.
func sealedDatagram(k *sealKey, number uint64, payload []byte) []byte {
	b := make([]byte, headerLen, headerLen+len(payload)+tagLen)
	h := header{index: 7, number: number, gen: byte(k.gen)}
	if k.sealed {
		h.flags |= flagSealed
	}
	putHeader(b, &h)
	b = append(b, payload...)
	b = append(b, make([]byte, tagLen)...)
	k.seal(b, number, new([nonceLen]byte))
	return b
}

func TestSealAndOpen(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		k := testKey(t, sealed)
		payload := []byte("what the peers say to each other")
		b := sealedDatagram(k, 42, payload)
		if clear := bytes.Contains(b, payload); clear == sealed {
			t.Errorf("sealed %v: payload in clear %v", sealed, clear)
		}
		for at := range b {
			for _, bit := range []byte{1, 0x80} {
				forged := bytes.Clone(b)
				forged[at] ^= bit
				if _, ok := k.open(forged, 42, new([nonceLen]byte)); ok {
					t.Fatalf("sealed %v: byte %d altered and it opens", sealed, at)
				}
			}
		}
		if _, ok := k.open(bytes.Clone(b), 43, new([nonceLen]byte)); ok {
			t.Error("opens under another packet number")
		}
		if _, ok := k.open(bytes.Clone(b[:len(b)-1]), 42, new([nonceLen]byte)); ok {
			t.Error("truncated and it opens")
		}
		got, ok := k.open(b, 42, new([nonceLen]byte))
		if !ok || !bytes.Equal(got, payload) {
			t.Errorf("sealed %v: opened %v as %q", sealed, ok, got)
		}
	}
}

// TestKeysDiffer: secret, index, mode and generation all go into the key.
func TestKeysDiffer(t *testing.T) {
	secret, other := []byte("a secret of some length"), []byte("a secret of same length")
	var keys []*sealKey
	for _, x := range []struct {
		secret []byte
		index  uint64
		sealed bool
	}{{secret, 7, false}, {secret, 7, true}, {secret, 8, false}, {other, 7, false}} {
		k, err := firstKey(x.secret, x.index, x.sealed)
		if err != nil {
			t.Fatal(err)
		}
		n, err := k.next()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k, n)
	}
	for i, a := range keys {
		b := sealedDatagram(&sealKey{aead: a.aead, iv: a.iv}, 1, []byte("x"))
		for j, k := range keys {
			if _, ok := (&sealKey{aead: k.aead, iv: k.iv}).open(bytes.Clone(b), 1, new([nonceLen]byte)); ok != (i == j) {
				t.Errorf("what key %d sealed opens under key %d: %v", i, j, ok)
			}
		}
	}
}

// TestNonces: "The nonce [...] is formed by combining the packet protection IV
// with the packet number" (RFC 9001 §5.3): no two packets of a key share one.
func TestNonces(t *testing.T) {
	k := testKey(t, true)
	seen := make(map[[nonceLen]byte]uint64)
	for _, n := range []uint64{0, 1, 2, 255, 256, 1 << 20, 1<<32 - 1, 1 << 32, 1 << 62, 1<<64 - 1} {
		var x [nonceLen]byte
		k.nonce(&x, n)
		if m, ok := seen[x]; ok {
			t.Errorf("packets %d and %d share a nonce", n, m)
		}
		seen[x] = n
	}
}

// TestKeyGenerations: "An endpoint MUST NOT initiate a subsequent key update
// unless it has received an acknowledgment for a packet that was sent protected
// with keys from the current key phase" (RFC 9001 §6.1).
func TestKeyGenerations(t *testing.T) {
	s := sendKeys{cur: testKey(t, true), after: 10}
	gen := func(number, acked uint64, any bool) uint64 {
		k, err := s.use(number, acked, any)
		if err != nil {
			t.Fatal(err)
		}
		return k.gen
	}
	for n := range uint64(10) {
		if g := gen(n, 0, true); g != 0 {
			t.Fatalf("packet %d has generation %d", n, g)
		}
	}
	if g := gen(12, 0, false); g != 0 {
		t.Error("a new generation though nothing was acknowledged")
	}
	if g := gen(13, 4, true); g != 1 {
		t.Errorf("generation %d after 13 packets, one of them acknowledged", g)
	}
	if g := gen(30, 12, true); g != 1 {
		t.Error("a new generation though only packets of the former one were acknowledged")
	}
	if g := gen(31, 13, true); g != 2 {
		t.Error("no new generation though due and acknowledged")
	}
	if _, err := s.use(31+hardRekey, 13, true); err == nil {
		t.Error("a key is used beyond its limit")
	}
}

func TestReceiverFollowsGenerations(t *testing.T) {
	first := testKey(t, true)
	r, err := newRecvKeys(first)
	if err != nil {
		t.Fatal(err)
	}
	k := first
	for gen := range 600 { // the header's byte wraps around
		if got := r.forGen(byte(gen)); got == nil || got.gen != uint64(gen) {
			t.Fatalf("generation %d: %+v", gen, got)
		}
		if r.forGen(byte(gen+2)) != nil {
			t.Fatalf("generation %d is known at %d", gen+2, gen)
		}
		if gen > 0 {
			if got := r.forGen(byte(gen - 1)); got == nil || got.gen != uint64(gen-1) {
				t.Fatalf("the former generation is gone at %d", gen)
			}
		}
		if k, err = k.next(); err != nil {
			t.Fatal(err)
		}
		if err := r.opened(r.forGen(byte(gen + 1))); err != nil {
			t.Fatal(err)
		}
		if r.cur.secret != k.secret {
			t.Fatalf("generation %d: the ends ratchet differently", gen+1)
		}
	}
}
