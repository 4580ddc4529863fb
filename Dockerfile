# For Astronomer (astro dev start, astro deploy); docker-compose.yaml builds its own image.
#
# The tag is Astronomer's runtime of the Airflow 3.3 line, with the Python that requirements.txt was resolved for.
# It has to carry the Airflow that requirements.txt pins (3.3.2): Astronomer's release notes say which does, and
# a build with another ends with the conflict named. The image installs packages.txt and requirements.txt and copies
# the project by itself.
FROM astrocrpublic.azurecr.io/runtime:3.3-8-python-3.12

# dags/ and include/ lie side by side here; Tidemill's paths start at their parent.
ENV TIDEMILL_ROOT=/usr/local/airflow

# A mistake in a spec is read in the UI as `tidemill validate` prints it.
ENV AIRFLOW__CORE__DAGBAG_IMPORT_ERROR_TRACEBACK_DEPTH=0
