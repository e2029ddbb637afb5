package udp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Sealing: AES-128-GCM under keys derived from the session's secret, as TLS and
// QUIC derive theirs (RFC 8446 §7.1, RFC 9001 §5 and §6). A direction's key is
// replaced every Config.RekeyAfter packets, far below the 2^23 packets that RFC
// 9001 §6.6 allows at this size of datagram.

const (
	aesKeyLen = 16
	secretLen = sha256.Size
	nonceLen  = 12

	// hardRekey is the number of packets of one generation after which a
	// sender that saw none of them acknowledged gives up the session.
	hardRekey = 1 << 22
)

// sealKey is the key of one generation of one direction. It is immutable, so
// that datagrams are sealed and opened without any lock.
type sealKey struct {
	gen    uint64
	secret [secretLen]byte
	aead   cipher.AEAD
	iv     [nonceLen]byte
	sealed bool
}

// firstKey derives generation 0. The index is the one that the direction's
// receiver chose: fresh indices give fresh keys.
func firstKey(secret []byte, index uint64, sealed bool) (*sealKey, error) {
	info := binary.LittleEndian.AppendUint64([]byte("raftdv udp v1 "), index)
	if sealed {
		info = append(info, " sealed"...)
	}
	s, err := hkdf.Key(sha256.New, secret, nil, string(info), secretLen)
	if err != nil {
		return nil, fmt.Errorf("derive the session key: %w", err)
	}
	return newSealKey(0, s, sealed)
}

// next ratchets: the old secret cannot be computed from the new one.
func (k *sealKey) next() (*sealKey, error) {
	s, err := hkdf.Expand(sha256.New, k.secret[:], "raftdv udp v1 next", secretLen)
	if err != nil {
		return nil, fmt.Errorf("derive key generation %d: %w", k.gen+1, err)
	}
	return newSealKey(k.gen+1, s, k.sealed)
}

func newSealKey(gen uint64, secret []byte, sealed bool) (*sealKey, error) {
	k := &sealKey{gen: gen, sealed: sealed}
	copy(k.secret[:], secret)
	key, err := hkdf.Expand(sha256.New, secret, "raftdv udp v1 key", aesKeyLen)
	if err != nil {
		return nil, err
	}
	iv, err := hkdf.Expand(sha256.New, secret, "raftdv udp v1 iv", nonceLen)
	if err != nil {
		return nil, err
	}
	copy(k.iv[:], iv)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	k.aead, err = cipher.NewGCM(block)
	return k, err
}

// nonce is the packet number xored into the IV, as in RFC 9001 §5.3.
func (k *sealKey) nonce(n *[nonceLen]byte, number uint64) {
	*n = k.iv
	le := binary.LittleEndian
	le.PutUint64(n[4:], le.Uint64(n[4:])^number)
}

// seal seals the datagram b, whose last tagLen bytes are free, in place.
// scratch spares an allocation.
func (k *sealKey) seal(b []byte, number uint64, scratch *[nonceLen]byte) {
	k.nonce(scratch, number)
	end := len(b) - tagLen
	if k.sealed {
		k.aead.Seal(b[headerLen:headerLen], scratch[:], b[headerLen:end], b[:headerLen])
		return
	}
	k.aead.Seal(b[end:end], scratch[:], nil, b[:end])
}

// open verifies the datagram b in place and returns its payload.
func (k *sealKey) open(b []byte, number uint64, scratch *[nonceLen]byte) (payload []byte, ok bool) {
	k.nonce(scratch, number)
	end := len(b) - tagLen
	var err error
	if k.sealed {
		_, err = k.aead.Open(b[headerLen:headerLen], scratch[:], b[headerLen:], b[:headerLen])
	} else {
		_, err = k.aead.Open(nil, scratch[:], b[end:], b[:end])
	}
	return b[headerLen:end:end], err == nil
}

// sendKeys is the sending side's key and when it is replaced.
type sendKeys struct {
	cur   *sealKey
	first uint64 // packet number of the generation
	after uint64 // packets per generation
}

// use returns the key for packet number. RFC 9001 §6.1: a generation is begun
// only when a packet of the current one was acknowledged.
func (s *sendKeys) use(number, largestAcked uint64, anyAcked bool) (*sealKey, error) {
	if used := number - s.first; used >= s.after {
		if anyAcked && largestAcked >= s.first {
			next, err := s.cur.next()
			if err != nil {
				return nil, err
			}
			s.cur, s.first = next, number
		} else if used >= hardRekey {
			return nil, fmt.Errorf("%d packets of one key and none acknowledged", used)
		}
	}
	return s.cur, nil
}

// recvKeys holds the generations that a receiver opens: packets of the previous
// one may come late, a packet of the next one begins it.
type recvKeys struct{ prev, cur, next *sealKey }

func newRecvKeys(first *sealKey) (recvKeys, error) {
	next, err := first.next()
	return recvKeys{cur: first, next: next}, err
}

// forGen finds the key of a generation by its low byte, or nil.
func (r *recvKeys) forGen(gen byte) *sealKey {
	for _, k := range [...]*sealKey{r.cur, r.next, r.prev} {
		if k != nil && byte(k.gen) == gen {
			return k
		}
	}
	return nil
}

// opened notes that a datagram opened under k.
func (r *recvKeys) opened(k *sealKey) error {
	if k != r.next {
		return nil
	}
	next, err := k.next()
	if err != nil {
		return err
	}
	r.prev, r.cur, r.next = r.cur, k, next
	return nil
}
