package simulate

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	mathrand "math/rand/v2"
	"sync"
)

// raft draws its election timeouts from crypto/rand and offers no other way. Its
// Reader is a variable, so that a run can put its own source there.
var entropyMu sync.Mutex // held by the run whose source is in place

type entropy struct{ rng *mathrand.Rand }

func (e *entropy) Read(b []byte) (int, error) {
	var word [8]byte
	for i := 0; i < len(b); i += len(word) {
		binary.LittleEndian.PutUint64(word[:], e.rng.Uint64())
		copy(b[i:], word[:])
	}
	return len(b), nil
}

// seedEntropy replaces the source until the function that it returns is called.
func seedEntropy(rng *mathrand.Rand) (restore func()) {
	entropyMu.Lock()
	was := rand.Reader
	rand.Reader = io.Reader(&entropy{rng})
	return func() {
		rand.Reader = was
		entropyMu.Unlock()
	}
}

// The streams of random numbers of a run. Each user has its own, so that more
// draws of one do not change what another does.
const (
	streamCluster = iota + 1
	streamRaft
	streamDisk
	streamClients
	streamSchedule
	streamFault // plus the number of the fault

	streamFailovers = 1 << 32
	streamKernels   = 1<<32 + 1
	streamChatter   = 1 << 40 // plus the member's id times 1<<20, plus the incarnation
)

func stream(seed, which uint64) *mathrand.Rand { return mathrand.New(mathrand.NewPCG(seed, which)) }
