locals {
  # jobs are told apart from others of the project by their names
  jobs     = "resource.type = \"dataflow_job\" AND resource.labels.job_name = starts_with(\"${var.job_prefix}\")"
  counter  = "metric.type = \"dataflow.googleapis.com/job/user_counter\" AND ${local.jobs}"
  channels = [for channel in google_monitoring_notification_channel.email : channel.id]

  charts = [
    { title = "Photos encoded", filter = "${local.counter} AND metric.labels.metric_name = \"images\"" },
    { title = "Photos failed", filter = "${local.counter} AND metric.labels.metric_name = \"failed\"" },
    { title = "Pixels encoded", filter = "${local.counter} AND metric.labels.metric_name = \"pixels\"" },
    { title = "Bytes written", filter = "${local.counter} AND metric.labels.metric_name = \"bytes_out\"" },
    { title = "vCPUs", filter = "metric.type = \"dataflow.googleapis.com/job/current_num_vcpus\" AND ${local.jobs}" },
    { title = "Seconds since the start", filter = "metric.type = \"dataflow.googleapis.com/job/elapsed_time\" AND ${local.jobs}" },
  ]
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.alert_emails)

  display_name = each.value
  type         = "email"
  labels       = { email_address = each.value }

  depends_on = [google_project_service.apis]
}

resource "google_monitoring_alert_policy" "job_failed" {
  display_name          = "Underpaint: a job failed"
  combiner              = "OR"
  notification_channels = local.channels

  conditions {
    display_name = "failed"
    condition_threshold {
      filter          = "metric.type = \"dataflow.googleapis.com/job/is_failed\" AND ${local.jobs}"
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    content = "The archive is whole all the same: run the same command again. See infra/README.md, What goes wrong."
  }

  depends_on = [google_project_service.apis]
}

resource "google_monitoring_alert_policy" "photos_failed" {
  display_name          = "Underpaint: many photos fail"
  combiner              = "OR"
  notification_channels = local.channels

  conditions {
    display_name = "failed photos of one job"
    condition_threshold {
      filter          = "${local.counter} AND metric.labels.metric_name = \"failed\""
      comparison      = "COMPARISON_GT"
      threshold_value = var.alert_failed_photos
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    content = "underpaint inspect ARCHIVE --failed tells the causes."
  }

  depends_on = [google_project_service.apis]
}

resource "google_monitoring_alert_policy" "job_is_long" {
  display_name          = "Underpaint: a job runs long"
  combiner              = "OR"
  notification_channels = local.channels

  conditions {
    display_name = "elapsed time"
    condition_threshold {
      filter          = "metric.type = \"dataflow.googleapis.com/job/elapsed_time\" AND ${local.jobs}"
      comparison      = "COMPARISON_GT"
      threshold_value = var.alert_hours * 3600
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  depends_on = [google_project_service.apis]
}

resource "google_monitoring_dashboard" "jobs" {
  dashboard_json = jsonencode({
    displayName = "Underpaint"
    mosaicLayout = {
      columns = 12
      tiles = [
        for number, chart in local.charts : {
          xPos   = 6 * (number % 2)
          yPos   = 4 * floor(number / 2)
          width  = 6
          height = 4
          widget = {
            title = chart.title
            xyChart = {
              dataSets = [{
                plotType = "LINE"
                timeSeriesQuery = {
                  timeSeriesFilter = {
                    filter = chart.filter
                    aggregation = {
                      alignmentPeriod    = "60s"
                      perSeriesAligner   = "ALIGN_MAX"
                      crossSeriesReducer = "REDUCE_MAX"
                      groupByFields      = ["resource.label.job_name"]
                    }
                  }
                }
              }]
            }
          }
        }
      ]
    }
  })

  depends_on = [google_project_service.apis]
}
