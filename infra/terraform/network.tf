# Workers have no public addresses. Google's own services are reached all the same (private access);
# anything else only through NAT, where asked for.

resource "google_compute_network" "jobs" {
  name                    = var.name
  auto_create_subnetworks = false

  depends_on = [google_project_service.apis]
}

resource "google_compute_subnetwork" "jobs" {
  name                     = var.name
  network                  = google_compute_network.jobs.id
  region                   = var.region
  ip_cidr_range            = var.subnetwork_range
  private_ip_google_access = true
}

# Workers of one job talk to each other on these ports; Dataflow gives all of them this tag.
resource "google_compute_firewall" "between_workers" {
  name        = "${var.name}-between-workers"
  network     = google_compute_network.jobs.id
  direction   = "INGRESS"
  source_tags = ["dataflow"]
  target_tags = ["dataflow"]

  allow {
    protocol = "tcp"
    ports    = ["12345-12346"]
  }
}

resource "google_compute_router" "nat" {
  count = var.with_nat ? 1 : 0

  name    = "${var.name}-nat"
  network = google_compute_network.jobs.id
  region  = var.region
}

resource "google_compute_router_nat" "nat" {
  count = var.with_nat ? 1 : 0

  name                               = "${var.name}-nat"
  router                             = google_compute_router.nat[0].name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
}
