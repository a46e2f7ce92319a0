output "image" {
  description = "Address of the worker image, for Cloud Build and for --sdk_container_image."
  value       = local.image
}

output "builder_id" {
  description = "Service account of Cloud Build, as gcloud takes it."
  value       = google_service_account.builder.id
}

output "build_source" {
  description = "Where `gcloud builds submit` puts the source."
  value       = "gs://${google_storage_bucket.build_source.name}/source"
}

output "launcher" {
  description = "Service account to impersonate when jobs are started."
  value       = google_service_account.launcher.email
}

output "template" {
  description = "The Flex Template, for `gcloud dataflow flex-template run`."
  value       = "gs://${google_storage_bucket.archives.name}/${google_storage_bucket_object.template.name}"
}

output "launch_options" {
  description = "Options of `underpaint encode` that fit all this."
  value = join(" ", [
    "--runner=DataflowRunner",
    "--project=${var.project}",
    "--region=${var.region}",
    "--sdk_container_image=${local.image}",
    "--service_account_email=${google_service_account.worker.email}",
    "--subnetwork=regions/${var.region}/subnetworks/${google_compute_subnetwork.jobs.name}",
    "--no_use_public_ips",
    "--temp_location=gs://${google_storage_bucket.archives.name}/temp",
    "--max_num_workers=${var.max_workers}",
    "--gpu=${var.gpu}",
  ])
}
