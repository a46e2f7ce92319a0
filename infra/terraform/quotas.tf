# New projects have no GPUs. A request is answered by Google, at once or after days.

resource "google_cloud_quotas_quota_preference" "gpu" {
  for_each = var.gpu_quota

  parent        = "projects/${var.project}"
  name          = lower("${var.name}-${each.key}")
  service       = "compute.googleapis.com"
  quota_id      = each.key
  dimensions    = { region = var.region }
  contact_email = var.quota_contact

  quota_config {
    preferred_value = each.value
  }

  depends_on = [google_project_service.apis]
}

resource "google_cloud_quotas_quota_preference" "all_gpus" {
  count = var.all_gpus_quota > 0 ? 1 : 0

  parent        = "projects/${var.project}"
  name          = "${var.name}-gpus-all-regions"
  service       = "compute.googleapis.com"
  quota_id      = "GPUS-ALL-REGIONS-per-project"
  contact_email = var.quota_contact

  quota_config {
    preferred_value = var.all_gpus_quota
  }

  depends_on = [google_project_service.apis]
}
