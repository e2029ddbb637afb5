package raftdv

import "testing"

func TestSnapPatch(t *testing.T) {
	body := []byte("some bytes of a database")
	want := snapHeader{kind: snapData, transfer: 7, offset: 1 << 40, total: noDatabase}
	patch := appendSnapPatch(nil, want, body)
	got, err := parseSnapPatch(patch, body)
	if err != nil || got != want {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
	for i := range body {
		body[i] ^= 1
		if _, err := parseSnapPatch(patch, body); err == nil {
			t.Errorf("byte %d of the body altered and not noticed", i)
		}
		body[i] ^= 1
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "short": patch[:snapPatchLen-1], "long": append(patch[:snapPatchLen:snapPatchLen], 0),
		"kind 0": flip(patch, 1, byte(snapData)), "kind 200": flip(patch, 1, 200), "reserved": flip(patch, 2, 1), "raft": flip(patch, 0, patchSnapshot^patchVersion),
	} {
		if _, err := parseSnapPatch(bad, body); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func flip(b []byte, at int, bits byte) []byte {
	c := append([]byte(nil), b...)
	c[at] ^= bits
	return c
}
