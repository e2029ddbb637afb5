package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/raftdv/dv/raftdv"
)

// putTimeout bounds how long a PUT waits for its commit.
const putTimeout = 10 * time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "kv:", err)
		os.Exit(1)
	}
}

func run() error {
	id := flag.Uint64("id", 1, "this member: its place in --cluster, from 1")
	clusterFlag := flag.String("cluster", "http://127.0.0.1:12379", "peer URLs of all members, separated by commas")
	listen := flag.String("listen", "127.0.0.1:12380", "where clients come")
	flag.Parse()
	cluster := strings.Split(*clusterFlag, ",")
	if *id < 1 || *id > uint64(len(cluster)) {
		return fmt.Errorf("--id=%d: --cluster has members 1 to %d", *id, len(cluster))
	}
	u, err := url.Parse(cluster[*id-1])
	if err != nil {
		return fmt.Errorf("--cluster: %w", err)
	}
	peers, err := net.Listen("tcp", u.Host)
	if err != nil {
		return err
	}
	lg, err := zap.NewProduction()
	if err != nil {
		return err
	}
	m, err := startMember(*id, cluster, peers, lg)
	if err != nil {
		return err
	}
	defer m.stop()
	srv := &http.Server{Addr: *listen, Handler: m.handler()}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, func() { srv.Close() })
	if err := srv.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// handler serves GET and PUT of /KEY, and the state of the transport.
func (m *member) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+raftdv.DebugPath, raftdv.DebugHandler())
	mux.HandleFunc("GET /{key}", func(w http.ResponseWriter, r *http.Request) {
		v, ok := m.get(r.PathValue("key"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, v)
	})
	mux.HandleFunc("PUT /{key}", func(w http.ResponseWriter, r *http.Request) {
		v, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValue))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), putTimeout)
		defer cancel()
		if err := m.put(ctx, r.PathValue("key"), string(v)); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

func unmarshal(b []byte, m proto.Message) error { return proto.Unmarshal(b, m) }
