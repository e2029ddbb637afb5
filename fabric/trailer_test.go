package fabric_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/raftdv/dv/fabric"
	"pgregory.net/rapid"
)

func trailers() *rapid.Generator[fabric.Trailer] {
	return rapid.Custom(func(t *rapid.T) fabric.Trailer {
		tr := fabric.Trailer{
			First: rapid.Uint64().Draw(t, "first"), Count: rapid.Uint32().Draw(t, "count"), Algorithm: rapid.Uint16().Draw(t, "algorithm"),
			Signature: bytesOf(0, 100).Draw(t, "signature"),
		}
		copy(tr.Previous[:], bytesOf(fabric.DigestLen, fabric.DigestLen).Draw(t, "previous"))
		copy(tr.Root[:], bytesOf(fabric.DigestLen, fabric.DigestLen).Draw(t, "root"))
		return tr
	})
}

func sameTrailer(a, b *fabric.Trailer) bool {
	return a.First == b.First && a.Count == b.Count && a.Algorithm == b.Algorithm && a.Previous == b.Previous && a.Root == b.Root &&
		bytes.Equal(a.Signature, b.Signature)
}

func TestTrailerRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := trailers().Draw(t, "trailer")
		b := fabric.AppendTrailer([]byte("before"), &tr)[6:]
		got, err := fabric.ParseTrailer(b)
		if err != nil || !sameTrailer(&got, &tr) || !within(got.Signature, b) {
			t.Fatalf("%v; %+v became %+v", err, tr, got)
		}
	})
}

func TestTrailerBounds(t *testing.T) {
	tr := fabric.Trailer{Algorithm: 1, Signature: make([]byte, fabric.MaxSignature)}
	b := fabric.AppendTrailer(nil, &tr)
	if got, err := fabric.ParseTrailer(b); err != nil || !sameTrailer(&got, &tr) {
		t.Fatal(err)
	}
	larger := append(patched(b, 14, 1, 0x20), 0)
	for name, b := range map[string][]byte{
		"empty": nil, "cut before its signature": b[:79], "signature cut": b[:len(b)-1], "rest": append(bytes.Clone(b), 0), "large signature": larger,
	} {
		if _, err := fabric.ParseTrailer(b); !errors.Is(err, fabric.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	tr.Signature = make([]byte, fabric.MaxSignature+1)
	if !panics(func() { fabric.AppendTrailer(nil, &tr) }) {
		t.Error("a large signature was encoded")
	}
}
