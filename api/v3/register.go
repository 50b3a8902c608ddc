package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of every resource here.
var GroupVersion = schema.GroupVersion{Group: "projectcalico.org", Version: "v3"}

// SchemeGroupVersion is GroupVersion by the name that Kubernetes API packages use.
var SchemeGroupVersion = GroupVersion

// SchemeBuilder collects what AddToScheme does.
var SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

// AddToScheme registers every kind and its list with a scheme, for clients of client-go and controller-runtime.
var AddToScheme = SchemeBuilder.AddToScheme

// Resource is the group-qualified name of a resource, such as ippools.
func Resource(resource string) schema.GroupResource {
	return GroupVersion.WithResource(resource).GroupResource()
}

func addKnownTypes(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&BGPConfiguration{}, &BGPConfigurationList{},
		&BGPFilter{}, &BGPFilterList{},
		&BGPPeer{}, &BGPPeerList{},
		&BlockAffinity{}, &BlockAffinityList{},
		&CalicoNodeStatus{}, &CalicoNodeStatusList{},
		&ClusterInformation{}, &ClusterInformationList{},
		&FelixConfiguration{}, &FelixConfigurationList{},
		&GlobalNetworkPolicy{}, &GlobalNetworkPolicyList{},
		&GlobalNetworkSet{}, &GlobalNetworkSetList{},
		&HostEndpoint{}, &HostEndpointList{},
		&IPAMBlock{}, &IPAMBlockList{},
		&IPAMConfiguration{}, &IPAMConfigurationList{},
		&IPAMHandle{}, &IPAMHandleList{},
		&IPPool{}, &IPPoolList{},
		&IPReservation{}, &IPReservationList{},
		&KubeControllersConfiguration{}, &KubeControllersConfigurationList{},
		&NetworkPolicy{}, &NetworkPolicyList{},
		&NetworkSet{}, &NetworkSetList{},
		&Node{}, &NodeList{},
		&Profile{}, &ProfileList{},
		&StagedGlobalNetworkPolicy{}, &StagedGlobalNetworkPolicyList{},
		&StagedKubernetesNetworkPolicy{}, &StagedKubernetesNetworkPolicyList{},
		&StagedNetworkPolicy{}, &StagedNetworkPolicyList{},
		&Tier{}, &TierList{},
		&WorkloadEndpoint{}, &WorkloadEndpointList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
