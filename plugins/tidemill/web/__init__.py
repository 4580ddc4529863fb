"""What Tidemill adds to Airflow's pages. Every address asks who is calling and what they may see."""
