# The Flex Template: what `gcloud dataflow flex-template build` would write, kept as code.

resource "google_storage_bucket_object" "template" {
  bucket       = google_storage_bucket.archives.name
  name         = "templates/encode-${var.image_tag}.json"
  content_type = "application/json"

  content = jsonencode({
    image    = local.image
    sdkInfo  = { language = "PYTHON" }
    metadata = jsondecode(file("${path.module}/../dataflow/flex_template.json"))

    defaultEnvironment = {
      sdkContainerImage    = local.image
      serviceAccountEmail  = google_service_account.worker.email
      subnetwork           = "regions/${var.region}/subnetworks/${google_compute_subnetwork.jobs.name}"
      ipConfiguration      = "WORKER_IP_PRIVATE"
      tempLocation         = "gs://${google_storage_bucket.archives.name}/temp"
      stagingLocation      = "gs://${google_storage_bucket.archives.name}/staging"
      maxWorkers           = var.max_workers
      launcherMachineType  = "n2-standard-4"
      additionalUserLabels = local.labels
    }
  })
}
