package probe
import (
 _ "go.etcd.io/etcd/server/v3/etcdmain"
 _ "go.etcd.io/etcd/client/v3"
 _ "github.com/spf13/cobra"
 _ "sigs.k8s.io/yaml"
 _ "golang.org/x/sys/unix"
 _ "pgregory.net/rapid"
 _ "go.uber.org/goleak"
 _ "github.com/anishathalye/porcupine"
)
