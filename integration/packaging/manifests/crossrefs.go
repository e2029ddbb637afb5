package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A template is a pod, or what a StatefulSet or a Job makes pods of.
type template struct {
	name    string
	labels  map[string]string
	spec    corev1.PodSpec
	volumes map[string]bool
	ends    bool // nobody asks whether it is healthy
}

func (o *objects) templates() (all []template) {
	for _, p := range o.pods {
		all = append(all, template{"Pod " + p.Name, p.Labels, p.Spec, volumes(p.Spec, nil), false})
	}
	for _, s := range o.sets {
		t := s.Spec.Template
		all = append(all, template{"StatefulSet " + s.Name, t.Labels, t.Spec, volumes(t.Spec, s.Spec.VolumeClaimTemplates), false})
	}
	for _, j := range o.jobs {
		t := j.Spec.Template
		all = append(all, template{"Job " + j.Name, t.Labels, t.Spec, volumes(t.Spec, nil), true})
	}
	return all
}

func volumes(spec corev1.PodSpec, claims []corev1.PersistentVolumeClaim) map[string]bool {
	names := map[string]bool{}
	for _, v := range spec.Volumes {
		names[v.Name] = true
	}
	for _, c := range claims {
		names[c.Name] = true
	}
	return names
}

// check finds references that lead nowhere. The API server accepts most of
// them, and the result does not work.
func (o *objects) check() error {
	var errs []error
	for _, t := range o.templates() {
		errs = append(errs, t.check(), o.links(t))
	}
	for _, s := range o.sets {
		errs = append(errs, o.governing(s.Spec.ServiceName, s.Name), o.selects("StatefulSet "+s.Name, s.Spec.Selector))
	}
	for _, j := range o.jobs {
		errs = append(errs, parts(j))
	}
	for _, s := range o.services {
		errs = append(errs, o.service(s))
	}
	for _, b := range o.budgets {
		errs = append(errs, o.selects("PodDisruptionBudget "+b.Name, b.Spec.Selector))
	}
	for _, p := range o.policies {
		errs = append(errs, o.selects("NetworkPolicy "+p.Name, &p.Spec.PodSelector))
		for _, rule := range p.Spec.Ingress {
			for _, port := range rule.Ports {
				errs = append(errs, o.networkPort("NetworkPolicy "+p.Name, port))
			}
		}
	}
	return errors.Join(errs...)
}

// check: ports of probes and mounted volumes exist.
func (t template) check() error {
	var errs []error
	for _, c := range t.spec.Containers {
		for name, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
			switch {
			case t.ends:
			case probe == nil || probe.HTTPGet == nil:
				errs = append(errs, fmt.Errorf("%s: container %s has no %s probe by HTTP", t.name, c.Name, name))
			case !offers(c, probe.HTTPGet.Port, corev1.ProtocolTCP):
				errs = append(errs, fmt.Errorf("%s: the %s probe asks port %s, which container %s does not have", t.name, name, probe.HTTPGet.Port.String(), c.Name))
			}
		}
		for _, m := range c.VolumeMounts {
			if !t.volumes[m.Name] {
				errs = append(errs, fmt.Errorf("%s: container %s mounts volume %s, which the pod does not have", t.name, c.Name, m.Name))
			}
		}
	}
	return errors.Join(errs...)
}

// parts: a job whose pods take a part each of an experiment has as many as there are.
func parts(j *batchv1.Job) error {
	if p := j.Spec.Template.Spec.RestartPolicy; p != corev1.RestartPolicyNever && p != corev1.RestartPolicyOnFailure {
		return fmt.Errorf("job %s: restartPolicy %q: a job has Never or OnFailure", j.Name, p)
	}
	for _, c := range j.Spec.Template.Spec.Containers {
		for _, arg := range append(c.Command, c.Args...) {
			n, ok := strings.CutPrefix(arg, "--shard=auto/")
			if !ok {
				continue
			}
			if m := j.Spec.CompletionMode; m == nil || *m != batchv1.IndexedCompletion {
				return fmt.Errorf("job %s: %s needs completionMode: Indexed", j.Name, arg)
			}
			if j.Spec.Completions == nil || fmt.Sprint(*j.Spec.Completions) != n {
				return fmt.Errorf("job %s: %s, and completions are not %s: some part would be missing", j.Name, arg, n)
			}
		}
	}
	return nil
}

// links: the variables that Kubernetes makes of a Service's name must not look
// like settings.
func (o *objects) links(t template) error {
	if off := t.spec.EnableServiceLinks; off != nil && !*off {
		return nil
	}
	for _, s := range o.services {
		if strings.HasPrefix(s.Name, "etcd") && s.Spec.ClusterIP != corev1.ClusterIPNone {
			return fmt.Errorf("%s: Service %s becomes variables ETCD_*: set enableServiceLinks: false", t.name, s.Name)
		}
	}
	return nil
}

func (o *objects) governing(service, set string) error {
	for _, s := range o.services {
		if s.Name != service {
			continue
		}
		if s.Spec.ClusterIP != corev1.ClusterIPNone || !s.Spec.PublishNotReadyAddresses {
			return fmt.Errorf("StatefulSet %s: Service %s must be headless and publish addresses of pods that are not ready", set, service)
		}
		return nil
	}
	return fmt.Errorf("StatefulSet %s: there is no Service %q", set, service)
}

func (o *objects) service(s *corev1.Service) error {
	errs := []error{o.selects("Service "+s.Name, &metav1.LabelSelector{MatchLabels: maps.Clone(s.Spec.Selector)})}
	for _, p := range s.Spec.Ports {
		errs = append(errs, o.port("Service "+s.Name, p.TargetPort, p.Protocol))
	}
	return errors.Join(errs...)
}

// selects: a selector finds a pod of this file.
func (o *objects) selects(who string, s *metav1.LabelSelector) error {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return fmt.Errorf("%s: %w", who, err)
	}
	for _, t := range o.templates() {
		if selector.Matches(labels.Set(t.labels)) && !selector.Empty() {
			return nil
		}
	}
	return fmt.Errorf("%s selects %q, which is no pod here", who, selector)
}

// port: some container has it.
func (o *objects) port(who string, port intstr.IntOrString, protocol corev1.Protocol) error {
	for _, t := range o.templates() {
		for _, c := range t.spec.Containers {
			if offers(c, port, protocol) {
				return nil
			}
		}
	}
	return fmt.Errorf("%s: no container has port %s/%s", who, port.String(), protocol)
}

// networkPort: a rule without a port is for all of them.
func (o *objects) networkPort(who string, p networkingv1.NetworkPolicyPort) error {
	if p.Port == nil {
		return nil
	}
	protocol := corev1.ProtocolTCP
	if p.Protocol != nil {
		protocol = *p.Protocol
	}
	return o.port(who, *p.Port, protocol)
}

func offers(c corev1.Container, port intstr.IntOrString, protocol corev1.Protocol) bool {
	for _, p := range c.Ports {
		same := p.Name == port.StrVal
		if port.Type == intstr.Int {
			same = p.ContainerPort == port.IntVal
		}
		if same && orTCP(p.Protocol) == orTCP(protocol) {
			return true
		}
	}
	return false
}

// orTCP is the API server's default.
func orTCP(p corev1.Protocol) corev1.Protocol { return cmp.Or(p, corev1.ProtocolTCP) }
