package udp

// fifo is a growing ring. Its users bound what they put in.
type fifo[T any] struct {
	ring []T // length a power of two
	head uint64
	tail uint64
}

func (f *fifo[T]) len() int { return int(f.tail - f.head) }

func (f *fifo[T]) front() *T { return f.at(0) }

func (f *fifo[T]) at(i int) *T { return &f.ring[(f.head+uint64(i))&uint64(len(f.ring)-1)] }

func (f *fifo[T]) push(v T) *T {
	if f.len() == len(f.ring) {
		f.grow()
	}
	f.tail++
	p := f.at(f.len() - 1)
	*p = v
	return p
}

func (f *fifo[T]) pop() { f.head++ }

func (f *fifo[T]) clear() { f.head = f.tail }

func (f *fifo[T]) grow() {
	ring := make([]T, max(16, 2*len(f.ring)))
	n := f.len()
	for i := range n {
		ring[i] = *f.at(i)
	}
	f.ring, f.head, f.tail = ring, 0, uint64(n)
}
