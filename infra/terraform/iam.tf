# Three accounts: workers do the work, launchers start jobs, the builder pushes images. Each has
# what its part takes, on the one bucket and the one registry, not on the project where it can be
# helped.

resource "google_service_account" "worker" {
  account_id   = "${var.name}-worker"
  display_name = "Underpaint: Dataflow workers"
}

resource "google_service_account" "launcher" {
  account_id   = "${var.name}-launcher"
  display_name = "Underpaint: starts and watches jobs"
}

resource "google_service_account" "builder" {
  account_id   = "${var.name}-builder"
  display_name = "Underpaint: builds worker images"
}

# Workers take work from the service; the role is only granted on projects.
resource "google_project_iam_member" "worker" {
  project = var.project
  role    = "roles/dataflow.worker"
  member  = google_service_account.worker.member
}

# Launchers create, list, cancel and watch jobs.
resource "google_project_iam_member" "launcher" {
  for_each = toset(["roles/dataflow.developer", "roles/monitoring.viewer", "roles/logging.viewer"])

  project = var.project
  role    = each.value
  member  = google_service_account.launcher.member
}

resource "google_service_account_iam_member" "launcher_runs_as_worker" {
  service_account_id = google_service_account.worker.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.launcher.member
}

resource "google_service_account_iam_member" "people_act_as_launcher" {
  for_each = toset(var.launchers)

  service_account_id = google_service_account.launcher.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.value
}

# Archives: both write (the launcher writes plan, manifest and report); deleting is part of it, for
# plans that were carried out. Beam also asks for the bucket itself, which objectUser does not allow.
resource "google_storage_bucket_iam_member" "archives" {
  for_each = {
    for pair in setproduct(
      ["worker", "launcher"], ["roles/storage.objectUser", "roles/storage.legacyBucketReader"]
    ) : join(" ", pair) => pair
  }

  bucket = google_storage_bucket.archives.name
  role   = each.value[1]
  member = each.value[0] == "worker" ? google_service_account.worker.member : google_service_account.launcher.member
}

# Photos: both read (the launcher lists them).
resource "google_storage_bucket_iam_member" "sources" {
  for_each = {
    for pair in setproduct(["worker", "launcher"], var.source_buckets) : join(" ", pair) => pair
  }

  bucket = each.value[1]
  role   = "roles/storage.objectViewer"
  member = each.value[0] == "worker" ? google_service_account.worker.member : google_service_account.launcher.member
}

resource "google_artifact_registry_repository_iam_member" "readers" {
  for_each = {
    worker   = google_service_account.worker.member
    launcher = google_service_account.launcher.member
  }

  repository = google_artifact_registry_repository.images.name
  location   = google_artifact_registry_repository.images.location
  role       = "roles/artifactregistry.reader"
  member     = each.value
}

resource "google_artifact_registry_repository_iam_member" "builder" {
  repository = google_artifact_registry_repository.images.name
  location   = google_artifact_registry_repository.images.location
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.builder.member
}

# Cloud Build reads the uploaded source from a bucket of its own and writes logs.
resource "google_project_iam_member" "builder" {
  project = var.project
  role    = "roles/logging.logWriter"
  member  = google_service_account.builder.member
}

resource "google_storage_bucket_iam_member" "builder_reads_source" {
  bucket = google_storage_bucket.build_source.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.builder.member
}

resource "google_storage_bucket" "build_source" {
  name                        = "${var.bucket}-build"
  location                    = var.region
  labels                      = local.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  lifecycle_rule {
    condition {
      age = 7
    }
    action {
      type = "Delete"
    }
  }

  depends_on = [google_project_service.apis]
}
