variable "project" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "region" {
  description = "Region of bucket, registry, network and jobs; one that has the GPU."
  type        = string
  default     = "europe-west4"
}

variable "name" {
  description = "What the names of all resources begin with."
  type        = string
  default     = "underpaint"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "3 to 20 lowercase letters, digits and hyphens, a letter first."
  }
}

variable "bucket" {
  description = "Name of the bucket for archives, templates and temporary files. It is made here."
  type        = string
}

variable "source_buckets" {
  description = "Names of standing buckets with photos that workers may read."
  type        = list(string)
  default     = []
}

variable "launchers" {
  description = "Who may act as the launcher account, as [\"user:ada@example.com\"]."
  type        = list(string)
  default     = []
}

variable "image_tag" {
  description = "Tag of the worker image in the registry."
  type        = string
  default     = "0.1.0"
}

variable "temporary_days" {
  description = "Days after which temporary files of jobs are deleted."
  type        = number
  default     = 14
}

variable "subnetwork_range" {
  description = "Addresses of workers: a /22 has room for about 1,000."
  type        = string
  default     = "10.90.0.0/22"
}

variable "with_nat" {
  description = "Let workers reach addresses outside Google (manifests and weights on the web)."
  type        = bool
  default     = false
}

variable "gpu" {
  description = "GPU that jobs launched from the template take: a type, TYPE:MACHINE, or none."
  type        = string
  default     = "nvidia-l4"
}

variable "max_workers" {
  description = "Most workers of a job launched from the template."
  type        = number
  default     = 8
}

variable "gpu_quota" {
  description = "GPU quotas to ask for by their ids, as { NVIDIA-L4-GPUS-per-project-region = 8 }."
  type        = map(number)
  default     = {}
}

variable "all_gpus_quota" {
  description = "GPUs of all regions and types together to ask for; 0 asks for nothing."
  type        = number
  default     = 0
}

variable "quota_contact" {
  description = "E-mail address for requests of quota; needed where quotas are asked for."
  type        = string
  default     = ""
}

variable "job_prefix" {
  description = "What the names of the watched jobs begin with."
  type        = string
  default     = "underpaint"
}

variable "alert_emails" {
  description = "Who is told when a job fails, fails too many photos or runs too long."
  type        = list(string)
  default     = []
}

variable "alert_failed_photos" {
  description = "Failed photos of one job that are worth an alert."
  type        = number
  default     = 1000
}

variable "alert_hours" {
  description = "Hours of one job that are worth an alert: it costs money."
  type        = number
  default     = 24
}
