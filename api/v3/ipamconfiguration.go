package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IPAMConfiguration is a IPAMConfiguration resource of projectcalico.org/v3.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=ipamconfigurations,shortName={ipamconfig,ipamconfigs}
// +kubebuilder:printcolumn:name="StrictAffinity",type=boolean,JSONPath=`.spec.strictAffinity`
// +kubebuilder:printcolumn:name="MaxBlocksPerHost",type=integer,JSONPath=`.spec.maxBlocksPerHost`
// +kubebuilder:printcolumn:name="AutoAllocateBlocks",type=boolean,JSONPath=`.spec.autoAllocateBlocks`
type IPAMConfiguration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec IPAMConfigurationSpec `json:"spec,omitempty"`
}

// IPAMConfigurationList is a list of IPAMConfiguration.
//
// +kubebuilder:object:root=true
type IPAMConfigurationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []IPAMConfiguration `json:"items"`
}

// IPAMConfigurationSpec is what the user wants of a IPAMConfiguration.
type IPAMConfigurationSpec struct {
	// AutoAllocateBlocks is the field autoAllocateBlocks of the API.
	// +kubebuilder:default=true
	// +required
	AutoAllocateBlocks bool `json:"autoAllocateBlocks"`
	// IPCooldownSeconds is the field ipCooldownSeconds of the API.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1200
	// +optional
	IPCooldownSeconds *int32 `json:"ipCooldownSeconds,omitempty"`
	// KubeVirtVMAddressPersistence is the field kubeVirtVMAddressPersistence of the API.
	// +kubebuilder:validation:Enum="Enabled";"Disabled"
	// +optional
	KubeVirtVMAddressPersistence string `json:"kubeVirtVMAddressPersistence,omitempty"`
	// MaxBlocksPerHost is the field maxBlocksPerHost of the API.
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	MaxBlocksPerHost int32 `json:"maxBlocksPerHost,omitempty"`
	// StrictAffinity is the field strictAffinity of the API.
	// +kubebuilder:default=false
	// +required
	StrictAffinity bool `json:"strictAffinity"`
}
