package bench

import (
	"context"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

const (
	// grpcMethod is a client stream of batches.
	grpcService = "raftdv.bench.Raft"
	grpcStream  = "Messages"
	grpcMethod  = "/" + grpcService + "/" + grpcStream
	// grpcWindow is how much of a stream may be under way. A fixed window
	// spares the pings by which gRPC otherwise finds one (round trips took half
	// as long again with them), and is large enough for all that this package
	// has in flight.
	grpcWindow = 8 << 20
	// grpcBuffer is what gRPC gathers for one write or read of the socket.
	grpcBuffer = 128 << 10
)

// grpcSystem has one client stream for each peer and direction, each on a
// connection of its own. A gRPC message is a batch of encoded raft messages: one
// gRPC message for each raft message gave a third of the rate. The codec
// passes bytes, raft messages are encoded with protobuf as everywhere.
func grpcSystem() *system {
	return besideSystem(PortGRPC, func(p memberParams) (network, error) {
		client, server, err := p.tlsConfigs()
		if err != nil {
			return nil, err
		}
		n := &grpcNetwork{client: insecure.NewCredentials(), server: insecure.NewCredentials()}
		if client != nil {
			n.client, n.server = credentials.NewTLS(client), credentials.NewTLS(server)
		}
		return n, nil
	})
}

type grpcNetwork struct {
	client, server credentials.TransportCredentials
	srv            *grpc.Server
	wg             sync.WaitGroup
}

func (n *grpcNetwork) limit() int { return maxBatch }

func (n *grpcNetwork) listen(t *beside) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	n.srv = grpc.NewServer(
		grpc.Creds(n.server), grpc.ForceServerCodecV2(bytesCodec{}), grpc.MaxRecvMsgSize(maxMessage+prefixLen),
		grpc.InitialWindowSize(grpcWindow), grpc.InitialConnWindowSize(grpcWindow),
		grpc.ReadBufferSize(grpcBuffer), grpc.WriteBufferSize(grpcBuffer),
	)
	n.srv.RegisterService(&grpc.ServiceDesc{
		ServiceName: grpcService,
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: grpcStream, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			t.in.Add(1)
			defer t.in.Add(-1)
			return t.serveGRPC(s)
		}}},
	}, nil)
	n.wg.Go(func() { n.srv.Serve(l) })
	return l.Addr().String(), nil
}

// serveGRPC hands over messages until the stream ends.
func (t *beside) serveGRPC(s grpc.ServerStream) error {
	for {
		var b mem.Buffer
		if err := s.RecvMsg(&b); err != nil {
			return err
		}
		err := t.receive(b.ReadOnlyData())
		b.Free()
		if err != nil {
			return err
		}
	}
}

func (n *grpcNetwork) dial(ctx context.Context, addr string) (carrier, error) {
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(n.client), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{})),
		grpc.WithInitialWindowSize(grpcWindow), grpc.WithInitialConnWindowSize(grpcWindow),
		grpc.WithReadBufferSize(grpcBuffer), grpc.WithWriteBufferSize(grpcBuffer),
	)
	if err != nil {
		return nil, err
	}
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{StreamName: grpcStream, ClientStreams: true}, grpcMethod)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &grpcCarrier{conn, s}, nil
}

func (n *grpcNetwork) close() {
	if n.srv != nil {
		n.srv.Stop()
	}
	n.wg.Wait()
}

type grpcCarrier struct {
	conn   *grpc.ClientConn
	stream grpc.ClientStream
}

func (c *grpcCarrier) send(batch []byte) error { return c.stream.SendMsg(batch) }
func (c *grpcCarrier) close()                  { c.conn.Close() }

// bytesCodec passes batches: []byte out, a mem.Buffer in, both in gRPC's pooled
// memory.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "raftdv-bench-bytes" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("%T is no batch of messages", v)
	}
	return mem.BufferSlice{mem.Copy(b, mem.DefaultBufferPool())}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*mem.Buffer)
	if !ok {
		return fmt.Errorf("%T takes no batch of messages", v)
	}
	*b = data.MaterializeToBuffer(mem.DefaultBufferPool())
	return nil
}
